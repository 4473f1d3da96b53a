//! A thread pool whose threads spin for a while before they sleep: a training step takes
//! microseconds, and waking a sleeping thread takes longer.

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// One job: a function of the index of a task and of the thread that runs it.
type Job<'a> = &'a (dyn Fn(usize, usize) + Sync + 'a);

/// Time for which an idle thread spins before it sleeps. Single-threaded steps between two jobs are
/// shorter; waking a thread costs tens of microseconds, also for the thread that wakes it.
const AWAKE: Duration = Duration::from_micros(100);

/// The part of [`AWAKE`] in which a spinning thread does not yield its core.
const ALONE: Duration = Duration::from_micros(20);

/// Polls for a job between two looks at the clock: a few microseconds at most.
const ROUNDS: u32 = 1 << 6;

/// Polls by the caller, while it waits for the helpers to finish, before it yields its core.
const PATIENCE: u32 = 1 << 11;

/// A thread pool that runs one job at a time. The calling thread works on the job as well.
#[derive(Debug)]
pub struct ThreadPool {
    state: Arc<State>,
    helpers: Vec<JoinHandle<()>>,
    /// Held by the caller while its job runs.
    turn: Mutex<()>,
}

/// State shared by the threads.
struct State {
    /// Number of jobs so far.
    jobs: AtomicUsize,
    /// Number of threads for the current job: those with the lowest indices.
    most: AtomicUsize,
    /// True while helpers may join the job.
    open: AtomicBool,
    /// Number of helpers that are checking for a job or running it.
    inside: AtomicUsize,
    job: UnsafeCell<Option<Job<'static>>>,
    /// Each thread's share of the tasks; the caller is thread 0.
    parts: Vec<Part>,
    asleep: Vec<AtomicBool>,
    /// Time for which an idle thread spins before it sleeps: [`AWAKE`], or 0 with more threads than
    /// cores.
    awake: Duration,
    ended: AtomicBool,
    /// The first panic of a helper.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// The tasks of one thread, on a cache line of its own.
#[repr(align(128))]
#[derive(Default)]
struct Part {
    next: AtomicUsize,
    end: AtomicUsize,
}

#[allow(
    unsafe_code,
    reason = "a job lives as long as the call that hands it out, which scoped threads would start anew each time"
)]
// SAFETY: `job` is written only by the caller that holds `turn`, while `open` is false. A helper
// reads it only after it has counted itself in `inside` and then found `open` true. All other
// fields are constant, atomic or behind a mutex.
unsafe impl Sync for State {}
#[allow(unsafe_code, reason = "as for Sync")]
// SAFETY: as for Sync; what a job borrows is Sync.
unsafe impl Send for State {}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} threads", self.parts.len())
    }
}

impl ThreadPool {
    /// A pool of `threads` threads, including the caller.
    ///
    /// # Errors
    /// A thread that the system cannot start.
    pub fn new(threads: usize) -> Result<Self> {
        // With more threads than cores, a spinning thread would only keep another from its work.
        let room = thread::available_parallelism().map_or(1, usize::from) >= threads;
        let state = Arc::new(State {
            jobs: AtomicUsize::new(0),
            most: AtomicUsize::new(threads),
            open: AtomicBool::new(false),
            inside: AtomicUsize::new(0),
            job: UnsafeCell::new(None),
            parts: (0..threads).map(|_| Part::default()).collect(),
            asleep: (0..threads).map(|_| AtomicBool::new(false)).collect(),
            awake: if room { AWAKE } else { Duration::ZERO },
            ended: AtomicBool::new(false),
            panic: Mutex::new(None),
        });
        let mut pool = ThreadPool { state, helpers: Vec::new(), turn: Mutex::new(()) };
        for helper in 1..threads {
            let state = Arc::clone(&pool.state);
            let thread = thread::Builder::new().name(format!("cpu {helper}")).spawn(move || state.help(helper));
            let thread =
                thread.with_context(|| format!("the system does not start {threads} threads: use --threads 1"))?;
            pool.helpers.push(thread);
        }
        Ok(pool)
    }

    /// Runs a job of `tasks` tasks on the first `threads` threads. Each thread begins with its own
    /// share, the same in every job of as many tasks and threads, so that it finds its data in its
    /// cache; then it takes tasks from the shares of the others.
    pub fn run(&self, tasks: usize, threads: usize, job: &(dyn Fn(usize, usize) + Sync)) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &*self.state;
        let threads = threads.clamp(1, state.parts.len());
        for (thread, part) in state.parts[..threads].iter().enumerate() {
            part.end.store((thread + 1) * tasks / threads, SeqCst);
            part.next.store(thread * tasks / threads, SeqCst);
        }
        state.most.store(threads, SeqCst);
        #[allow(unsafe_code, reason = "see State")]
        // SAFETY: `open` is false, so no helper reads `job`. The borrow outlives this call, which
        // closes the job and waits until no helper is inside.
        unsafe {
            *state.job.get() = Some(std::mem::transmute::<Job<'_>, Job<'static>>(job));
        }
        state.open.store(true, SeqCst);
        state.jobs.fetch_add(1, SeqCst);
        state.wake(self.helpers[..threads - 1].iter().map(JoinHandle::thread));
        let own = catch_unwind(AssertUnwindSafe(|| state.work(job, 0)));
        state.open.store(false, SeqCst);
        let mut rounds = 0;
        while state.inside.load(SeqCst) != 0 {
            rounds += 1;
            if rounds < PATIENCE && !state.awake.is_zero() { std::hint::spin_loop() } else { thread::yield_now() }
        }
        let of_helper = state.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(panic) = own.err().or(of_helper) {
            resume_unwind(panic);
        }
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.state.ended.store(true, SeqCst);
        self.state.jobs.fetch_add(1, SeqCst);
        self.state.wake(self.helpers.iter().map(JoinHandle::thread));
        for helper in self.helpers.drain(..) {
            // Helpers catch panics, so this cannot fail.
            let _ = helper.join();
        }
    }
}

impl State {
    /// The main loop of a helper thread.
    fn help(&self, thread: usize) {
        let mut seen = 0;
        loop {
            seen = self.wait(thread, seen);
            if self.ended.load(SeqCst) {
                return;
            }
            self.inside.fetch_add(1, SeqCst);
            // A helper that arrives after the job was closed leaves again; the caller waits until
            // all have left.
            if self.open.load(SeqCst) {
                #[allow(unsafe_code, reason = "see State")]
                // SAFETY: the job is open and this helper is counted in `inside`, so the caller
                // keeps the job alive until the helper leaves.
                let job = unsafe { *self.job.get() };
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.work(job.expect("an open job"), thread))) {
                    self.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(panic);
                }
            }
            self.inside.fetch_sub(1, SeqCst);
        }
    }

    /// The number of jobs so far, if the last is new since `seen` and for this thread, or if the
    /// pool ends.
    fn next(&self, thread: usize, seen: usize) -> Option<usize> {
        let jobs = self.jobs.load(SeqCst);
        (jobs != seen && (thread < self.most.load(SeqCst) || self.ended.load(SeqCst))).then_some(jobs)
    }

    /// Waits until there is a job for this thread: awake for a while, then asleep.
    fn wait(&self, thread: usize, seen: usize) -> usize {
        let start = Instant::now();
        loop {
            let waited = start.elapsed();
            if waited >= self.awake {
                break;
            }
            if waited >= ALONE {
                thread::yield_now();
            }
            for _ in 0..ROUNDS {
                if let Some(jobs) = self.next(thread, seen) {
                    return jobs;
                }
                std::hint::spin_loop();
            }
        }
        loop {
            // Set before the last check: either this check finds the job, or the caller that starts
            // the job finds this thread asleep.
            self.asleep[thread].store(true, SeqCst);
            if let Some(jobs) = self.next(thread, seen) {
                self.asleep[thread].store(false, SeqCst);
                return jobs;
            }
            thread::park();
        }
    }

    fn wake<'a>(&self, helpers: impl Iterator<Item = &'a Thread>) {
        for (asleep, helper) in self.asleep[1..].iter().zip(helpers) {
            if asleep.swap(false, SeqCst) {
                helper.unpark();
            }
        }
    }

    /// Runs tasks until none is left, beginning with the thread's own share.
    fn work(&self, job: Job<'_>, thread: usize) {
        let threads = self.most.load(SeqCst);
        if thread >= threads {
            // This helper woke for the previous job, which used more threads.
            return;
        }
        for part in (thread..threads).chain(0..thread).map(|part| &self.parts[part]) {
            loop {
                let task = part.next.fetch_add(1, SeqCst);
                if task >= part.end.load(SeqCst) {
                    break;
                }
                job(task, thread);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Jobs of all sizes, with threads spinning and asleep.
    #[test]
    fn every_task_is_done_once() {
        for threads in [1, 2, 3, 7] {
            let pool = ThreadPool::new(threads).expect("threads");
            for (tasks, of_job) in (0..40).chain([1000]).cycle().take(500).zip((1..=threads).cycle()) {
                let done: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                pool.run(tasks, of_job, &|task, thread| {
                    assert!(thread < of_job);
                    done[task].fetch_add(1, SeqCst);
                });
                assert!(done.iter().all(|done| done.load(SeqCst) == 1), "{threads} threads, {tasks} tasks");
                if tasks == 17 {
                    thread::sleep(Duration::from_millis(1));
                }
            }
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_crew_goes_on() {
        let pool = ThreadPool::new(3).expect("threads");
        for task_of_panic in 0..9 {
            let run = || pool.run(9, 3, &|task, _| assert_ne!(task, task_of_panic, "planted"));
            assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
            let done = AtomicUsize::new(0);
            pool.run(9, 3, &|_, _| {
                done.fetch_add(1, SeqCst);
            });
            assert_eq!(done.into_inner(), 9);
        }
    }

    /// Callers on several threads take turns.
    #[test]
    fn callers_take_turns() {
        let pool = ThreadPool::new(2).expect("threads");
        let done = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        pool.run(5, 2, &|_, _| {
                            done.fetch_add(1, SeqCst);
                        });
                    }
                });
            }
        });
        assert_eq!(done.into_inner(), 4 * 200 * 5);
    }
}
