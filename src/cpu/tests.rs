//! Tests of the executor as a whole.

use super::nonzeros::Nonzeros;
use super::*;
use crate::backprop::{Desired, Examples, Matrices, training_plan};
use crate::backprop::{descent_plans_by_layer, gradient_plans_by_layer};
use crate::network::Topology;
use crate::network::activation::SIGMOID;
use crate::network::cost::QUADRATIC;
use crate::network::optimizer::{MOMENTUM, Optimizer, SGD, Settings};
use crate::plan::Element;

/// All activations, errors, weights and biases after two steps, and two more on other inputs.
fn trained(mut cpu: Cpu, widths: &[usize], m: usize, sparse: bool, optimizer: &'static Optimizer) -> Vec<f32> {
    let topology = Topology::new(widths, &SIGMOID, &QUADRATIC).expect("a network");
    let labels = Matrix::of(Element::U32, "labels", 2 * m, 1);
    let examples = Examples {
        order: Matrix::of(Element::U32, "order", 2 * m, 1),
        inputs: Matrix::of(Element::Byte, "inputs", 2 * m, widths[0]),
        scale: 1.0 / 255.0,
        desired: Desired::Classes(labels.clone()),
        weights: None,
    };
    let mixed = |i: usize| (i as u32 + 1).wrapping_mul(2_654_435_761) >> 8;
    let net = Matrices::new(&topology, m);
    cpu.load(&[training_plan(&topology, &examples, m, optimizer).expect("the shapes fit")]).expect("load");
    cpu.thread_choices[0] = ThreadChoice::always_all(cpu.threads);
    let executor: &mut dyn Executor = &mut cpu;
    let inputs = |salt: usize| {
        let mixed = (0..examples.inputs.len()).map(|i| mixed(i ^ salt));
        mixed.map(|i| if sparse && i % 8 > 0 { 0 } else { (i >> 8) as u8 }).collect::<Vec<u8>>()
    };
    executor.write(&examples.inputs, &inputs(0)).expect("write");
    executor.write(&examples.order, &(0..2 * m as u32).rev().collect::<Vec<_>>()).expect("write");
    let classes = *widths.last().expect("a network has layers") as u32;
    executor.write(&labels, &(0..2 * m).map(|i| mixed(i) % classes).collect::<Vec<_>>()).expect("write");
    for l in 2..=topology.last() {
        for matrix in [&net.w[l], &net.b[l]] {
            let values = (0..matrix.len()).map(|i| (mixed(i * l) % 2048) as f32 / 2048.0 - 0.4);
            executor.write(matrix, &values.collect::<Vec<f32>>()).expect("write");
        }
    }
    let coefficients = (optimizer.coefficients)(&Settings::default(), 0.5, 1);
    let steps = [0, m as u32].map(|first| MiniBatch { first, eta: 0.5, coefficients, ..MiniBatch::default() });
    executor.run(PlanId(0), &steps, &mut |_| ()).expect("run");
    executor.write(&examples.inputs, &inputs(5)).expect("write");
    executor.run(PlanId(0), &steps, &mut |_| ()).expect("run");
    let layers = 2..=topology.last();
    let results = layers.flat_map(|l| [&net.a[l], &net.delta[l], &net.w[l], &net.b[l]]);
    let results = std::iter::once(&net.a[1]).chain(results);
    results.flat_map(|matrix| executor.read::<f32>(matrix).expect("read")).collect()
}

/// Includes the narrower vectors of older machines, and scalar code.
#[test]
fn every_kind_of_vector_agrees_with_the_twins() {
    let mut kinds = vec![Arch::new(), Arch::Scalar];
    #[cfg(target_arch = "x86_64")]
    kinds.extend(pulp::x86::V3::try_new().map(Arch::V3));
    for (widths, m) in [
        (&[30, 17, 9][..], 10),
        (&[70, 33, 65, 10], 31),
        (&[19, 3, 2], 600),
        (&[600, 20, 3], 7),
        // Several panels at once, packed rows, and weights of a middle layer in panels.
        (&[300, 150, 4], 70),
        (&[20, 256, 140, 5], 13),
        // More examples than a block of terms, in several panels.
        (&[40, 70, 3], 1100),
        // As many panels as are read together, even with the widest vectors; few examples and
        // many.
        (&[150, 260, 4], 20),
        (&[150, 260, 4], 70),
        // Columns of the inputs that would evict each other from the cache are packed.
        (&[256, 520, 4], 9),
    ] {
        for (sparse, optimizer) in [(false, &SGD), (true, &SGD), (false, &MOMENTUM), (true, &MOMENTUM)] {
            let expected = trained(Cpu::of_twins(), widths, m, sparse, optimizer);
            for (&arch, threads) in kinds.iter().zip([1, 3, 2]) {
                let found = trained(Cpu { arch, ..Cpu::new(threads) }, widths, m, sparse, optimizer);
                for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    // Sums of 600 terms of order 1, a few such sums in succession.
                    let tolerance = 32.0 * f32::EPSILON * 600f32.sqrt();
                    let off = (found - expected).abs();
                    assert!(
                        off <= tolerance,
                        "{arch:?}, {widths:?}, m = {m}, {}, entry {i}: {found} where {expected} is right",
                        optimizer.name
                    );
                }
            }
        }
    }
}

/// The gradient of the first layer of a network, by the plans of one layer after another, and
/// whether few inputs were nonzero: one of `one_of`. If `listed`, the gradient may read the list
/// that the first plan made; otherwise it reads the matrix.
fn gradient_of_first_layer(mut cpu: Cpu, widths: &[usize], m: usize, one_of: usize, listed: bool) -> (Vec<f32>, bool) {
    let topology = Topology::new(widths, &SIGMOID, &QUADRATIC).expect("a network");
    let labels = Matrix::of(Element::U32, "labels", m, 1);
    let examples = Examples {
        order: Matrix::of(Element::U32, "order", m, 1),
        inputs: Matrix::of(Element::Byte, "inputs", m, widths[0]),
        scale: 1.0 / 255.0,
        desired: Desired::Classes(labels.clone()),
        weights: None,
    };
    let net = Matrices::new(&topology, m);
    let mut plans = gradient_plans_by_layer(&topology, &examples, m, (&SGD).into()).expect("the shapes fit");
    plans.extend(descent_plans_by_layer(&topology, m, (&SGD).into()).expect("the shapes fit"));
    cpu.load(&plans).expect("load");
    let executor: &mut dyn Executor = &mut cpu;
    let input = |i: usize| if i.is_multiple_of(one_of) { (i % 255) as u8 + 1 } else { 0 };
    executor.write(&examples.inputs, &(0..examples.inputs.len()).map(input).collect::<Vec<_>>()).expect("write");
    executor.write(&examples.order, &(0..m as u32).collect::<Vec<_>>()).expect("write");
    let classes = *widths.last().expect("a network has layers") as u32;
    executor.write(&labels, &(0..m as u32).map(|i| i % classes).collect::<Vec<_>>()).expect("write");
    for matrix in [&net.w[2], &net.b[2], &net.w[3], &net.b[3]] {
        let values = (0..matrix.len()).map(|i| (i * 37 % 101) as f32 / 101.0 - 0.5);
        executor.write(matrix, &values.collect::<Vec<f32>>()).expect("write");
    }
    let mini_batch = MiniBatch { first: 0, eta: 0.5, ..MiniBatch::default() };
    executor.run(PlanId(0), &[mini_batch], &mut |_| ()).expect("run");
    if !listed {
        let a = executor.read::<f32>(&net.a[1]).expect("read");
        executor.write(&net.a[1], &a).expect("write");
    }
    executor.run(PlanId(1), &[mini_batch], &mut |_| ()).expect("run");
    let gradient = [&net.nabla_w[2], &net.nabla_b[2]].map(|nabla| executor.read::<f32>(nabla).expect("read"));
    let few = cpu.workspace.iter().flat_map(|workspace| &workspace.nonzeros).any(Nonzeros::is_sparse);
    (gradient.concat(), few)
}

/// Asserts that each entry is within `tolerance` of the expected one.
fn assert_close(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() < tolerance, "entry {i}: {found} where {expected} is right");
    }
}

/// The gradient of the first layer reads the list that the first plan made, with the same bits as
/// from the matrix.
#[test]
fn a_gradient_reads_the_list_of_another_plan() {
    let (widths, m) = (&[300, 70, 4], 70);
    let (dense, few) = gradient_of_first_layer(Cpu::new(1), widths, m, 7, false);
    assert!(!few);
    for threads in [1, 3] {
        let (sparse, few) = gradient_of_first_layer(Cpu::new(threads), widths, m, 7, true);
        assert!(few && sparse == dense, "{threads} threads");
    }
    assert_close(&dense, &gradient_of_first_layer(Cpu::of_twins(), widths, m, 7, true).0, 1e-5);
}

/// More examples than are summed at a time, and neurons that do not fill their panels: partial sums
/// are read back from panels with padding.
#[test]
fn gradients_of_many_examples_agree_with_the_twins() {
    for neurons in [1, 30, 70, 100, 130] {
        let (widths, m) = (&[60, neurons, 4], 2 * tile::TERMS_PER_BLOCK + 76);
        let (expected, _) = gradient_of_first_layer(Cpu::of_twins(), widths, m, 1, false);
        let largest = expected.iter().fold(0.0, |largest: f32, entry| largest.max(entry.abs()));
        for threads in [1, 3] {
            let (found, few) = gradient_of_first_layer(Cpu::new(threads), widths, m, 1, true);
            assert!(!few);
            assert_close(&found, &expected, m as f32 * f32::EPSILON * largest);
        }
    }
}

#[test]
fn threads_change_no_bit() {
    for (widths, m) in [
        (&[300, 150, 4][..], 70),
        (&[600, 20, 3], 7),
        (&[20, 256, 140, 5], 17),
        // Narrow gradients, split among threads by examples and by rows.
        (&[9, 40, 3], 3000),
        (&[15, 100, 40, 3], 300),
        // Rows of inputs and errors split among threads.
        (&[7, 9, 8], 2500),
    ] {
        for (sparse, optimizer) in [(false, &SGD), (true, &SGD), (false, &MOMENTUM), (true, &MOMENTUM)] {
            let one = trained(Cpu::new(1), widths, m, sparse, optimizer);
            for threads in [2, 3, 8] {
                let several = trained(Cpu::new(threads), widths, m, sparse, optimizer);
                let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
                assert!(bits(&one) == bits(&several), "{widths:?}, m = {m}, {threads} threads, {}", optimizer.name);
            }
        }
    }
}
