//! Mini-batches in shards come to the same bits on any number of ranks, which here are threads.

use std::ops::Range;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use crate::closeness::assert_close_in_scale;
use crate::harness::AdapterUnderTest;
use crate::streaming::{Kind, WIDTHS, data, hyperparameters};
use gpu_backprop::cpu::Cpu;
use gpu_backprop::data::Data;
use gpu_backprop::gpu::GpuOptions;
use gpu_backprop::network::activation::{RELU, SIGMOID};
use gpu_backprop::network::cost::QUADRATIC;
use gpu_backprop::network::{Initialization, Parameters, Topology};
use gpu_backprop::plan::executor::Executor;
use gpu_backprop::ranks::{Alone, Ranks};
use gpu_backprop::training::{Evaluation, Hyperparameters, PartOfData, Trainer};

/// The messages that ranks, which are threads, show each other.
#[derive(Debug)]
struct Board {
    shown: Vec<Mutex<Vec<u8>>>,
    barrier: Barrier,
}

/// A rank that is a thread.
#[derive(Debug)]
struct Thread {
    rank: usize,
    board: Arc<Board>,
}

impl Thread {
    fn all(count: usize) -> Vec<Arc<dyn Ranks>> {
        let shown = (0..count).map(|_| Mutex::default()).collect();
        let board = Arc::new(Board { shown, barrier: Barrier::new(count) });
        (0..count).map(|rank| Arc::new(Thread { rank, board: Arc::clone(&board) }) as Arc<dyn Ranks>).collect()
    }
}

impl Ranks for Thread {
    fn rank(&self) -> usize {
        self.rank
    }

    fn count(&self) -> usize {
        self.board.shown.len()
    }

    fn on_this_machine(&self) -> (usize, usize) {
        (self.count(), self.rank)
    }

    fn all_to_all(&self, numbers: &[f32], slices: &[Range<usize>], senders: usize, received: &mut [f32]) {
        let all = self.share(bytemuck::cast_slice(numbers));
        let own = &slices[self.rank];
        for (rank, numbers) in all.iter().take(senders).enumerate() {
            let numbers: Vec<f32> = bytemuck::pod_collect_to_vec(numbers);
            received[rank * own.len()..][..own.len()].copy_from_slice(&numbers[own.clone()]);
        }
    }

    fn all_gather(&self, own: &[f32], slices: &[Range<usize>], numbers: &mut [f32]) {
        for (slice, of_rank) in slices.iter().zip(self.share(bytemuck::cast_slice(own))) {
            numbers[slice.clone()].copy_from_slice(&bytemuck::pod_collect_to_vec::<u8, f32>(&of_rank));
        }
    }

    fn share(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        *self.board.shown[self.rank].lock().expect("no panic") = bytes.to_vec();
        self.board.barrier.wait();
        let all = self.board.shown.iter().map(|shown| shown.lock().expect("no panic").clone()).collect();
        self.board.barrier.wait();
        all
    }

    fn broadcast(&self, bytes: Vec<u8>) -> Vec<u8> {
        self.share(&bytes).swap_remove(0)
    }

    fn send(&self, _: usize, _: &[u8]) {
        panic!("training sends no messages")
    }

    fn receive(&self, _: Option<usize>) -> (usize, Vec<u8>) {
        panic!("training sends no messages")
    }

    fn abort(&self, code: i32) -> ! {
        panic!("aborted with {code}")
    }
}

/// The result of a training.
#[derive(PartialEq, Debug)]
struct Trained {
    evaluations: Vec<Evaluation>,
    parameters: Parameters,
    states: Vec<Vec<f32>>,
}

fn train(executor: &mut dyn Executor, ranks: Arc<dyn Ranks>, data: &Data, hyperparameters: Hyperparameters) -> Trained {
    let topology = Topology::new(&WIDTHS, &RELU, &QUADRATIC).expect("a network").with_output(&SIGMOID);
    let initial = Parameters::random(&topology, Initialization::Scaled, 3).expect("memory");
    let mut trainer = Trainer::new(executor, &topology, &initial, data, hyperparameters).expect("a trainer");
    trainer.share_with(ranks).expect("they can be shared");
    let mut pauses = 0;
    trainer.pause_after(50);
    while trainer.position().epoch < 2 {
        trainer
            .train_until(&mut |_| (), &mut || {
                pauses += 1;
                pauses % 2 == 0
            })
            .expect("an epoch");
    }
    let parts = [PartOfData::Training, PartOfData::Validation, PartOfData::Test];
    let evaluations = parts.map(|part| trainer.evaluate(part).expect("it works").expect("no part is empty"));
    let snapshot = trainer.snapshot().expect("it works");
    Trained { evaluations: evaluations.to_vec(), parameters: snapshot.parameters, states: snapshot.states }
}

/// The training of each rank: they are all alike, or the test has failed.
fn train_on(
    count: usize,
    open: &(dyn Fn(usize) -> Box<dyn Executor> + Sync),
    data: &Data,
    hyperparameters: Hyperparameters,
) -> Trained {
    let mut trained: Vec<Trained> = thread::scope(|scope| {
        let one = |(rank, ranks)| scope.spawn(move || train(open(rank).as_mut(), ranks, data, hyperparameters));
        let threads: Vec<_> = Thread::all(count).into_iter().enumerate().map(one).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    for (rank, other) in trained.iter().enumerate() {
        assert!(*other == trained[0], "rank {rank} of {count} has come to something else than rank 0");
    }
    trained.swap_remove(0)
}

/// The last mini-batch has 5 examples, fewer than shards; some ranks have none of it.
const BATCH: usize = 29;
const SHARDS: usize = 8;

const KINDS: [Kind; 3] = [Kind::BytesAndClasses, Kind::FloatsAndWeightedClasses, Kind::FloatsAndNumbers];

fn ranks_change_no_bit() {
    for kind in KINDS {
        let data = data(kind);
        let hyperparameters = Hyperparameters { shards: SHARDS, ..hyperparameters(&data, BATCH) };
        let expected = train(&mut Cpu::new(1), Arc::new(Alone), &data, hyperparameters);
        for count in [2, 4, 8] {
            // Some ranks hold all of the data, others a chunk.
            let open = |rank: usize| -> Box<dyn Executor> {
                let mut cpu = Cpu::new(1 + rank % 2);
                if rank % 2 == 1 {
                    cpu.limit_memory(150_000);
                }
                Box::new(cpu)
            };
            let found = train_on(count, &open, &data, hyperparameters);
            assert!(found == expected, "{kind:?}: {count} ranks come to something else than one");
        }
    }
}

/// The sums are the same but for rounding. Without dropout, for shards have random numbers of their own.
fn shards_change_nothing_but_rounding() {
    for kind in KINDS {
        let data = data(kind);
        let whole = Hyperparameters { dropout: 0.0, ..hyperparameters(&data, BATCH) };
        let expected = train(&mut Cpu::new(1), Arc::new(Alone), &data, whole);
        let found =
            train(&mut Cpu::new(1), Arc::new(Alone), &data, Hyperparameters { shards: SHARDS, ..whole }).parameters;
        for ((name, expected), (_, found)) in expected.parameters.iter().zip(found.iter()) {
            assert!(expected != found, "{kind:?}, {name}: in other words the shards were not used");
            assert_close_in_scale(&format!("{kind:?}, {name}"), found.len(), found, expected, 1e-3);
        }
    }
}

fn shards_cannot_be_shared_among_more_ranks() {
    let data = data(Kind::FloatsAndNumbers);
    let topology = Topology::new(&WIDTHS, &RELU, &QUADRATIC).expect("a network").with_output(&SIGMOID);
    let initial = Parameters::random(&topology, Initialization::Scaled, 3).expect("memory");
    let hyperparameters = Hyperparameters { shards: 4, ..hyperparameters(&data, BATCH) };
    let mut cpu = Cpu::new(1);
    let mut trainer = Trainer::new(&mut cpu, &topology, &initial, &data, hyperparameters).expect("a trainer");
    let error = trainer.share_with(Thread::all(8).swap_remove(0)).expect_err("too many");
    assert_eq!(error.to_string(), "4 shards cannot be shared among 8 ranks");
}

fn on_a_gpu_ranks_change_no_bit(adapter: &AdapterUnderTest) {
    let data = data(Kind::FloatsAndWeightedClasses);
    // Few steps: each goes to the host and back.
    let hyperparameters = Hyperparameters { shards: 4, ..hyperparameters(&data, 300) };
    let open =
        |_: usize| -> Box<dyn Executor> { Box::new(adapter.open(GpuOptions::default()).expect("the adapter opens")) };
    let expected = train(open(0).as_mut(), Arc::new(Alone), &data, hyperparameters);
    let found = train_on(2, &open, &data, hyperparameters);
    assert!(found == expected, "two ranks come to something else than one");
    let of_cpu = train(&mut Cpu::new(1), Arc::new(Alone), &data, hyperparameters);
    for ((name, expected), (_, found)) in of_cpu.parameters.iter().zip(found.parameters.iter()) {
        assert_close_in_scale(name.as_str(), found.len(), found, expected, 1e-3);
    }
}

trials! {
    once:
        ranks_change_no_bit,
        shards_change_nothing_but_rounding,
        shards_cannot_be_shared_among_more_ranks;
    on_each_adapter:
        on_a_gpu_ranks_change_no_bit;
}
