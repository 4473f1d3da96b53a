//! Ranks as processes of MPI.

use std::env;
use std::ops::Range;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use mpi::collective::{CommunicatorCollectives, Root};
use mpi::datatype::{Equivalence, Partition, PartitionMut};
use mpi::point_to_point::{Destination, Source};
use mpi::request::{Request, Scope, scope};
use mpi::topology::{Communicator, SimpleCommunicator};
use mpi::{Count, Threading};

use super::Ranks;

pub use mpi::environment::Universe;

/// Environment variables that launchers set for their processes: Open MPI, MPICH and Intel MPI, and
/// Slurm's `srun --mpi`.
const OF_LAUNCHERS: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK"];

/// True if an MPI launcher started this process.
pub fn is_launched() -> bool {
    OF_LAUNCHERS.iter().any(|name| env::var_os(name).is_some())
}

/// All ranks of an MPI job.
#[derive(Debug)]
pub struct World {
    rank: usize,
    count: usize,
    on_this_machine: (usize, usize),
}

/// Joins the job. The ranks stay together until the universe is dropped.
///
/// # Errors
/// An MPI library that does not allow calls from one thread after another.
pub fn join() -> Result<(Universe, World)> {
    let Some((universe, threading)) = mpi::initialize_with_threading(Threading::Serialized) else {
        anyhow::bail!("MPI is in use already")
    };
    ensure!(
        threading >= Threading::Serialized,
        "this MPI library does not allow calls from several threads (MPI_THREAD_SERIALIZED): {}",
        mpi::environment::library_version().unwrap_or_default()
    );
    let all = world();
    let near = all.split_shared(all.rank());
    let on_this_machine = (near.size() as usize, near.rank() as usize);
    let ranks = World { rank: all.rank() as usize, count: all.size() as usize, on_this_machine };
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        world().abort(PANICKED);
    }));
    Ok((universe, ranks))
}

/// The exit code after a panic, as in Rust.
const PANICKED: i32 = 101;

fn world() -> SimpleCommunicator {
    SimpleCommunicator::world()
}

/// Polls of an unfinished exchange before the thread sleeps: a few microseconds.
const LOOKS: u32 = 50;

/// The shortest and the longest sleep between two polls, in which other threads can compute.
const PAUSES: [Duration; 2] = [Duration::from_micros(20), Duration::from_micros(200)];

/// Waits for an exchange without occupying a core, as MPI's own waiting functions would.
fn wait<'a, D: ?Sized, S: Scope<'a>>(mut request: Request<'a, D, S>) {
    let mut looks = 0;
    while let Err(unfinished) = request.test() {
        request = unfinished;
        rest(&mut looks);
    }
}

/// Lets other threads compute after an unsuccessful poll, longer after many of them.
fn rest(looks: &mut u32) {
    let [shortest, longest] = PAUSES;
    match looks.checked_sub(LOOKS) {
        None => thread::yield_now(),
        Some(pauses) => thread::sleep(shortest.saturating_mul(1 + pauses / 4).min(longest)),
    }
    *looks = looks.saturating_add(1);
}

/// Lengths and offsets of slices, as MPI counts.
fn partition(slices: impl Iterator<Item = Range<usize>>) -> (Vec<Count>, Vec<Count>) {
    slices.map(|slice| (slice.len() as Count, slice.start as Count)).unzip()
}

impl Ranks for World {
    fn rank(&self) -> usize {
        self.rank
    }

    fn count(&self) -> usize {
        self.count
    }

    fn on_this_machine(&self) -> (usize, usize) {
        self.on_this_machine
    }

    fn all_to_all(&self, numbers: &[f32], slices: &[Range<usize>], senders: usize, received: &mut [f32]) {
        let len = slices[self.rank].len();
        // Nothing is sent to this rank itself, nor by ranks without examples.
        let to_send = |(rank, slice): (usize, &Range<usize>)| {
            if self.rank < senders && rank != self.rank { slice.clone() } else { 0..0 }
        };
        let to_receive =
            |rank: usize| if rank < senders && rank != self.rank { rank * len..(rank + 1) * len } else { 0..0 };
        let (counts, starts) = partition(slices.iter().enumerate().map(to_send));
        let sent = Partition::new(numbers, counts, starts);
        let (counts, starts) = partition((0..self.count).map(to_receive));
        let mut received = PartitionMut::new(received, counts, starts);
        scope(|scope| wait(world().immediate_all_to_all_varcount_into(scope, &sent, &mut received)));
    }

    fn all_gather(&self, own: &[f32], slices: &[Range<usize>], numbers: &mut [f32]) {
        let (counts, starts) = partition(slices.iter().cloned());
        let mut numbers = PartitionMut::new(numbers, counts, starts);
        scope(|scope| wait(world().immediate_all_gather_varcount_into(scope, own, &mut numbers)));
    }

    fn share(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let world = world();
        // One extra byte that is never read: an empty slice may have an address that means
        // something to MPI.
        let bytes = &[bytes, &[0]].concat()[..];
        let mut lengths = vec![0u64; self.count];
        let length = bytes.len() as u64;
        scope(|scope| wait(world.immediate_all_gather_into(scope, &length, &mut lengths[..])));
        let mut start = 0;
        let slices = lengths.iter().map(|&len| {
            start += len as usize;
            start - len as usize..start
        });
        let slices: Vec<Range<usize>> = slices.collect();
        let mut all = vec![0u8; start];
        let (counts, starts) = partition(slices.iter().cloned());
        let mut received = PartitionMut::new(&mut all[..], counts, starts);
        scope(|scope| wait(world.immediate_all_gather_varcount_into(scope, bytes, &mut received)));
        slices.into_iter().map(|slice| all[slice.start..slice.end - 1].to_vec()).collect()
    }

    fn broadcast(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        let world = world();
        let first = world.process_at_rank(0);
        let mut len = bytes.len() as u64;
        first.broadcast_into(&mut len);
        bytes.resize(len as usize, 0);
        // The message may be too long for a single broadcast.
        for part in bytes.chunks_mut(LARGEST_MESSAGE) {
            first.broadcast_into(part);
        }
        bytes
    }

    fn send(&self, to: usize, bytes: &[u8]) {
        let world = world();
        let other = world.process_at_rank(to as Count);
        // One extra byte, as in `share`.
        let bytes = [bytes, &[0]].concat();
        scope(|scope| wait(other.immediate_send(scope, &bytes[..])));
    }

    fn receive(&self, from: Option<usize>) -> (usize, Vec<u8>) {
        let world = world();
        let mut looks = 0;
        let (message, status) = loop {
            let found = match from {
                Some(from) => world.process_at_rank(from as Count).immediate_matched_probe(),
                None => world.any_process().immediate_matched_probe(),
            };
            match found {
                Some(found) => break found,
                None => rest(&mut looks),
            }
        };
        let mut bytes = vec![0u8; status.count(u8::equivalent_datatype()) as usize];
        message.matched_receive_into(&mut bytes[..]);
        bytes.pop();
        (status.source_rank() as usize, bytes)
    }

    fn abort(&self, code: i32) -> ! {
        world().abort(code)
    }
}

/// Bytes of a message that every MPI library can send.
const LARGEST_MESSAGE: usize = 1 << 30;

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Instant;

    use super::*;

    /// Set for the ranks that this test starts: itself, twice.
    const IS_RANK: &str = "GPU_BACKPROP_TEST_OF_PANIC";

    #[test]
    fn a_panic_ends_all_ranks() {
        if env::var_os(IS_RANK).is_some() {
            let (_universe, world) = join().expect("MPI");
            assert_eq!(world.rank(), 0, "a planted panic");
            // The other rank never sends anything.
            world.receive(Some(1));
            return;
        }
        let launcher = env::var("GPU_BACKPROP_MPIRUN").unwrap_or("mpirun".to_string());
        let mut ranks = Command::new(&launcher);
        let version = Command::new(&launcher).arg("--version").output().expect("a launcher of MPI is installed");
        if String::from_utf8_lossy(&version.stdout).contains("Open MPI") {
            ranks.args(["--oversubscribe", "--bind-to", "none"]);
            ranks.envs([("OMPI_ALLOW_RUN_AS_ROOT", "1"), ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")]);
        }
        let name = thread::current().name().expect("threads of tests have names").to_string();
        ranks.args(["-n", "2"]).arg(env::current_exe().expect("a path")).args(["--exact", &name, "--nocapture"]);
        let begun = Instant::now();
        let output = ranks.env(IS_RANK, "1").output().expect("the launcher starts");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains("a planted panic"), "{stderr}");
        assert_eq!(output.status.code(), Some(PANICKED), "{stderr}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    }
}
