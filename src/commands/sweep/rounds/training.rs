//! The trials of a round: on the CPU and on GPUs, by one process or by several ranks.

use std::cell::RefCell;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;

use super::{Round, Sweep, is_of, of_first};
use crate::commands::sweep::hand_out::HandOut;
use crate::commands::sweep::pool::{TICK, Trial};
use crate::commands::sweep::ranking::Choice;
use crate::commands::sweep::result::TrialResult;
use crate::commands::sweep::{Observer, Opening};
use crate::commands::train::agree;
use crate::system::error::SweepInterrupted;
use crate::system::interruption;

impl Sweep<'_> {
    /// Trains what is missing of a round.
    pub(super) fn train(&mut self, round: &Round, is_first: bool, observer: &mut dyn Observer) -> Result<()> {
        let Sweep { options, all, left_out, folder, results, devices, opened, shared, .. } = self;
        let mut trials = round.trials();
        if let Some(part) = options.part {
            let sizes: Vec<f64> = trials.iter().map(|trial| trial.settled.size).collect();
            let mut is_mine = part.deal(&sizes).into_iter();
            trials.retain(|_| is_mine.next() == Some(true));
        }
        let is_missing = |trial: &&Trial<'_>| !results.iter().any(|result| is_of(result, trial));
        let missing: Vec<Trial<'_>> = trials.iter().filter(is_missing).copied().collect();
        let mut done = trials.len() - missing.len();
        let places = missing.iter().map(|trial| devices.place(trial.settled, &shared.sources));
        let places = places.collect::<Result<Vec<_>>>()?;
        let on_cpu = places.iter().filter(|place| place.is_none()).count();
        let (split, threads) = (&opened.data.split, all[0].options.threads.min(on_cpu));
        observer.begin(&Opening {
            data: &opened.data.name,
            examples: [split.training.len(), split.validation.len()],
            combinations: round.combinations.len(),
            trials: trials.len(),
            done,
            left_out: if is_first { left_out } else { &[] },
            threads,
        });
        *shared.done.get_mut().unwrap_or_else(PoisonError::into_inner) = 0.0;
        let size: f64 = missing.iter().map(|trial| trial.settled.size).sum();
        // The observer is told of each result, and now and then how far all are.
        let observer = RefCell::new(observer);
        let mut fresh = Vec::new();
        let keep = RefCell::new(|result: TrialResult| {
            if let Some(folder) = folder {
                folder.append(&result)?;
            }
            done += 1;
            let trial = missing.iter().find(|trial| trial.number == result.trial);
            let choices: &[Choice] = trial.map_or(&[], |trial| &trial.settled.choices);
            observer.borrow_mut().trial(&result, choices, done, trials.len());
            fresh.push(result);
            Ok(())
        });
        let (shared, ranks) = (&*shared, &*options.ranks);
        let of_place = |place: Option<usize>| {
            let here = missing.iter().zip(&places).filter(|(_, other)| **other == place);
            here.map(|(trial, _)| *trial).collect::<Vec<_>>()
        };
        let of_cpu = of_place(None);
        let hand_out = HandOut::new(ranks, of_cpu.len());
        let inbox = Mutex::new(Vec::<Result<TrialResult>>::new());
        let mut of_others = Ok(());
        let mut tick = || {
            let arrived = std::mem::take(&mut *inbox.lock().unwrap_or_else(PoisonError::into_inner));
            for result in arrived {
                let kept = result.and_then(&mut *keep.borrow_mut());
                if kept.is_err() {
                    shared.stop.store(true, Ordering::Relaxed);
                    of_others = std::mem::replace(&mut of_others, Ok(())).and(kept);
                }
            }
            observer.borrow_mut().progress(shared.done() / size.max(1.0));
        };
        let mut each = |result: TrialResult| match ranks.is_first() {
            true => keep.borrow_mut()(result),
            false => {
                hand_out.send(result);
                Ok(())
            }
        };
        let take = |result| inbox.lock().unwrap_or_else(PoisonError::into_inner).push(result);
        let ended = std::thread::scope(|scope| {
            let server = (ranks.is_first() && ranks.count() > 1)
                .then(|| scope.spawn(|| hand_out.serve(&|| shared.stops(), &take)));
            let warn = |text: &str| observer.borrow_mut().warn(text);
            let on_gpus = devices.gpus().iter_mut().enumerate().try_for_each(|(place, gpu)| {
                let of_gpu = of_place(Some(place)).into_iter().skip(ranks.rank()).step_by(ranks.count());
                shared.run_on_gpu(&of_gpu.collect::<Vec<_>>(), gpu, &mut each, &mut tick, &warn)
            });
            let ended =
                on_gpus.and_then(|()| shared.run_on_cpu(&of_cpu, &hand_out, threads.max(1), &mut each, &mut tick));
            if !ranks.is_first() {
                hand_out.end(ended.as_ref().err());
            }
            if let Some(server) = server {
                shared.stop.fetch_or(ended.is_err(), Ordering::Relaxed);
                while !server.is_finished() {
                    std::thread::sleep(TICK);
                    tick();
                }
                tick();
            }
            ended
        });
        let ended = agree(ranks, ended.and(of_others));
        results.extend(fresh);
        *results = of_first(options, std::mem::take(results))?;
        ended?;
        let signal = ranks.largest(interruption::signal().unwrap_or(0) as u64) as i32;
        if signal != 0 {
            let folder = options.folder.as_ref().map(|folder| folder.display().to_string());
            return Err(SweepInterrupted { signal, done, trials: trials.len(), folder }.into());
        }
        Ok(())
    }
}
