//! A thread that writes during training, one job after the other. New threads for each job would scatter freed memory
//! over ever more arenas of the allocator.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow};

type Job = Box<dyn FnOnce() -> Result<()> + Send>;

/// A thread and its queue of jobs.
#[derive(Debug)]
pub struct Writer {
    /// `None` when the writer ends.
    jobs: Option<Sender<Job>>,
    results: Receiver<Result<()>>,
    /// True while a job is not done.
    is_busy: Arc<AtomicBool>,
    /// True while the result of a job has not been taken.
    is_awaited: bool,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    /// A thread that cannot be started.
    pub fn start() -> Result<Self> {
        let ((jobs, todo), (done, results)) = (channel::<Job>(), channel());
        let is_busy = Arc::new(AtomicBool::new(false));
        let busy = Arc::clone(&is_busy);
        let work = move || {
            for job in todo {
                let result = job();
                busy.store(false, Ordering::Release);
                if done.send(result).is_err() {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("checkpoints".to_string()).spawn(work);
        let thread = thread.context("cannot start a thread for checkpoints")?;
        Ok(Writer { jobs: Some(jobs), results, is_busy, is_awaited: false, thread: Some(thread) })
    }

    /// True until the last job is done.
    pub fn is_busy(&self) -> bool {
        self.is_busy.load(Ordering::Acquire)
    }

    /// Starts a job; the result of the previous one must have been taken.
    pub fn begin(&mut self, job: impl FnOnce() -> Result<()> + Send + 'static) {
        self.is_busy.store(true, Ordering::Release);
        // `finish` reports a thread that is gone.
        self.is_awaited = true;
        if self.jobs.as_ref().is_none_or(|jobs| jobs.send(Box::new(job)).is_err()) {
            self.is_busy.store(false, Ordering::Release);
        }
    }

    /// Waits for the job and takes its result; `None` if there is no result left to take.
    pub fn finish(&mut self) -> Option<Result<()>> {
        std::mem::take(&mut self.is_awaited).then(|| {
            let result = self.results.recv();
            // A job that panics ends the thread.
            self.is_busy.store(false, Ordering::Release);
            result.unwrap_or_else(|_| Err(anyhow!("the checkpoint was not written")))
        })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // Its panic has been reported.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_done_one_after_the_other() {
        let mut writer = Writer::start().expect("a thread");
        assert!(writer.finish().is_none());
        let (sender, receiver) = channel::<()>();
        writer.begin(move || Ok(receiver.recv()?));
        assert!(writer.is_busy());
        sender.send(()).expect("it waits");
        writer.finish().expect("it was begun").expect("it succeeds");
        assert!(!writer.is_busy() && writer.finish().is_none());
        writer.begin(|| Err(anyhow!("full")));
        assert_eq!(writer.finish().expect("it was begun").expect_err("it fails").to_string(), "full");
        writer.begin(|| panic!("a test of panics"));
        assert!(writer.finish().expect("it was begun").is_err());
        writer.begin(|| Ok(()));
        assert!(writer.finish().expect("it was begun").is_err(), "the thread is gone");
    }
}
