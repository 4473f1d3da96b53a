//! Trials handed to the ranks of a job: the first one says who trains what, and keeps all results.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};

use super::result::TrialResult;
use crate::ranks::Ranks;

/// A message of a rank to the first one.
#[derive(Serialize, Deserialize)]
enum Word {
    /// It asks for a trial.
    Next,
    /// A trial is done.
    Done(Box<TrialResult>),
    /// It trains no more, perhaps because of an error.
    End(Option<String>),
}

/// The first one's answer to a rank that asks for a trial, where there is none.
const NONE: u64 = u64::MAX;

/// Trials handed out one by one.
#[derive(Debug)]
pub struct HandOut<'r> {
    ranks: &'r dyn Ranks,
    trials: usize,
    next: AtomicUsize,
    /// One conversation at a time.
    talking: Mutex<()>,
}

impl<'r> HandOut<'r> {
    /// Hands out the indices of so many trials.
    pub fn new(ranks: &'r dyn Ranks, trials: usize) -> Self {
        HandOut { ranks, trials, next: AtomicUsize::new(0), talking: Mutex::default() }
    }

    fn is_first(&self) -> bool {
        self.ranks.is_first()
    }

    /// The index of the next trial of this rank.
    pub fn take(&self) -> Option<usize> {
        if self.is_first() {
            let next = self.next.fetch_add(1, Ordering::Relaxed);
            return (next < self.trials).then_some(next);
        }
        let _talking = self.talking.lock().unwrap_or_else(PoisonError::into_inner);
        self.say(&Word::Next);
        let (_, answer) = self.ranks.receive(Some(0));
        let next = u64::from_le_bytes(answer.try_into().ok()?);
        (next != NONE).then_some(next as usize)
    }

    /// Sends a result to the first rank, which keeps it.
    pub fn send(&self, result: TrialResult) {
        let _talking = self.talking.lock().unwrap_or_else(PoisonError::into_inner);
        self.say(&Word::Done(Box::new(result)));
    }

    /// Says that this rank trains no more.
    pub fn end(&self, error: Option<&anyhow::Error>) {
        self.say(&Word::End(error.map(|error| format!("{error:#}"))));
    }

    fn say(&self, word: &Word) {
        // A word has no key that is no text.
        self.ranks.send(0, &serde_json::to_vec(word).unwrap_or_default());
    }

    /// Answers the other ranks until none trains any more; `stops` tells whether trials are still handed out, and `take` takes results.
    pub fn serve(&self, stops: &dyn Fn() -> bool, take: &dyn Fn(Result<TrialResult>)) {
        let mut left = self.ranks.count() - 1;
        while left > 0 {
            let (rank, word) = self.ranks.receive(None);
            match serde_json::from_slice(&word).with_context(|| format!("what rank {rank} says")) {
                Ok(Word::Next) => {
                    let next = if stops() { None } else { self.take() };
                    self.ranks.send(rank, &next.map_or(NONE, |next| next as u64).to_le_bytes());
                }
                Ok(Word::Done(result)) => take(Ok(*result)),
                Ok(Word::End(error)) => {
                    left -= 1;
                    if let Some(error) = error {
                        take(Err(anyhow!("rank {rank}: {error}")));
                    }
                }
                Err(error) => take(Err(error)),
            }
        }
    }
}
