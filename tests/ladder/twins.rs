//! Every kernel on every adapter, and every faster step of the CPU executor, against its twin.

use crate::cases::{self, Case};
use crate::closeness::{assert_within, wide};
use crate::harness::{AdapterUnderTest, Ignored};
use crate::{primitive, sentinels};
use gpu_backprop::cpu::Cpu;
use gpu_backprop::kernel::{Binding, Call, MiniBatch, Operand, Specification};
use gpu_backprop::network::activation::SIGMOID;
use gpu_backprop::plan::executor::{Executor, PlanId};
use gpu_backprop::plan::{Element, Matrix, Recorder};

fn gpu_kernels_agree_with_their_twins(adapter: &AdapterUnderTest) {
    let mut gpu = adapter.open(primitive()).expect("the adapter opens");
    for case in cases::all() {
        check(&mut gpu, &case);
    }
}

fn the_cpu_executor_agrees_with_the_twins() {
    for threads in [1, 3] {
        for case in cases::all() {
            check(&mut Cpu::new(threads), &case);
        }
    }
}

/// Some of the products are large enough to be shared among threads.
fn the_number_of_threads_changes_no_bit() {
    for case in cases::all().iter().filter(|case| case.before.is_empty()) {
        let step = &case.plan.steps[0];
        let computed = |threads| {
            let mut cpu = Cpu::new(threads);
            cpu.load(std::slice::from_ref(&case.plan)).expect("load");
            for (matrix, bytes) in &case.inputs {
                cpu.write_bytes(matrix, bytes).expect("write");
            }
            cpu.run(PlanId(0), &[case.mini_batch], &mut |_| ()).expect("run");
            cpu.read_bytes(step.output()).expect("read")
        };
        let one = computed(1);
        for threads in [2, 3, 7] {
            assert_eq!(one, computed(threads), "{} with {threads} threads", case.plan.name);
        }
    }
}

/// Runs a case on an executor, in storage larger than what is written, and compares all of it.
fn check(executor: &mut dyn Executor, case: &Case) {
    let step = &case.plan.steps[0];
    let what = format!("{} on {}", case.plan.name, executor.device());
    let outputs: Vec<&Matrix> = step.outputs().collect();
    executor.load(&[case.plan.clone(), sentinels::naming(step.outputs())]).expect(&what);
    for (matrix, bytes) in &case.inputs {
        executor.write_bytes(matrix, bytes).expect(&what);
    }
    let mut before = Vec::new();
    for (i, output) in outputs.iter().enumerate() {
        // As f32 bits for every element: a poisoned count is as wrong as a poisoned float.
        let values = sentinels::poisoned(output, case.before.get(i).map(Vec::as_slice));
        executor.write(&sentinels::storage(output), &values).expect(&what);
        before.push(values);
    }
    executor.run(PlanId(0), &[case.mini_batch], &mut |_| ()).expect(&what);
    let expected = run_twin(case, before.clone());
    for (number, ((output, before), expected)) in outputs.into_iter().zip(&before).zip(&expected).enumerate() {
        let what = format!("{} of {what}", output.name);
        let found: Vec<f32> = executor.read(&sentinels::storage(output)).expect(&what);
        let entries = sentinels::entries(&what, output, &found);
        if output.element == Element::U32 {
            let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(entries), bits(&expected[..output.len()]), "{what}");
            continue;
        }
        let tolerance = |entry| case.tolerance(number, entry);
        assert_within(&what, output.cols, entries, &wide(&expected[..output.len()]), tolerance);
        // Entries that the kernel leaves alone, such as the other slots, are exactly as before.
        for (i, ((found, expected), before)) in entries.iter().zip(expected).zip(before).enumerate() {
            assert!(before.to_bits() != expected.to_bits() || found == expected, "{what}: entry {i} was touched");
        }
    }
}

/// Everything that the twin of a case writes, from what was there before.
fn run_twin(case: &Case, mut written: Vec<Vec<f32>>) -> Vec<Vec<f32>> {
    let step = &case.plan.steps[0];
    // Aligned to words.
    let aligned: Vec<Vec<u32>> = case.inputs.iter().map(|(_, bytes)| padded(bytes)).collect();
    let (mut inputs, mut outputs) = (case.inputs.iter().zip(&aligned), written.iter_mut());
    let operand = |(matrix, binding): (&Matrix, Binding)| match (binding.access.writes(), matrix.element) {
        (false, element) => {
            let ((_, bytes), aligned) = inputs.next().expect("numbers of each operand that is read");
            Operand::read(element, &bytemuck::cast_slice(aligned)[..bytes.len()])
        }
        (true, Element::U32) => {
            let output = outputs.next().expect("one for each output");
            Operand::U32Mut(bytemuck::cast_slice_mut(&mut output[..matrix.len()]))
        }
        (true, _) => Operand::F32Mut(&mut outputs.next().expect("one for each output")[..matrix.len()]),
    };
    let operands = step.bound().map(operand).collect();
    let Specification::Twin { compute, .. } = step.kernel.specification else {
        panic!("a primitive kernel has a twin")
    };
    compute(&mut Call { invocation: step.invocation(case.mini_batch), operands });
    written
}

/// Bytes as whole words, the last one padded with 0.
fn padded(bytes: &[u8]) -> Vec<u32> {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytemuck::pod_collect_to_vec(&bytes)
}

/// llvmpipe of Mesa 22 ends loops after 65,535 iterations without an error: such a device must
/// refuse the plan, any other must get the sum right.
fn long_loops_are_right_or_refused(adapter: &AdapterUnderTest) {
    let rows = 70_001;
    let (delta, nabla_b) = (Matrix::new("delta", rows, 1), Matrix::new("nabla_b", 1, 1));
    let mut plan = Recorder::new("long sum");
    plan.column_sum(&delta, &nabla_b);
    let plan = plan.finish().expect("the shapes fit");
    let mut gpu = adapter.open(primitive()).expect("the adapter opens");
    match gpu.load(std::slice::from_ref(&plan)) {
        Err(error) => {
            let message = format!("{error:#}");
            assert!(message.contains("ends loops after 65535 iterations"), "{message}");
            assert!(message.contains("--batch") && message.contains("--device cpu"), "{message}");
        }
        Ok(()) => {
            let executor: &mut dyn Executor = &mut gpu;
            executor.write(&delta, &vec![1.0f32; rows]).expect("write");
            executor.run(PlanId(0), &[MiniBatch::default()], &mut |_| ()).expect("run");
            // Whole numbers below 2²⁴ add up without rounding.
            assert_eq!(executor.read::<f32>(&nabla_b).expect("read"), [rows as f32]);
        }
    }
}

fn wrong_shapes_are_refused_by_name() {
    let mut plan = Recorder::new("wrong");
    plan.add_bias(&Matrix::new("b2", 1, 4), &Matrix::new("z2", 10, 5));
    let message = format!("{:#}", plan.finish().expect_err("the bias is too short"));
    assert!(message.contains("add_bias: b2 (1, 4) where (1, 5) is needed"), "{message}");

    let mut plan = Recorder::new("aliased");
    let x = Matrix::new("x", 3, 3);
    plan.hadamard(&x, &Matrix::new("y", 3, 3), &x);
    let message = format!("{:#}", plan.finish().expect_err("the output is an input"));
    assert!(message.contains("both written and bound a second time"), "{message}");

    let mut plan = Recorder::new("of bytes");
    let bytes = Matrix::of(Element::Byte, "bytes", 2, 2);
    plan.hadamard(&bytes, &Matrix::new("y", 2, 2), &Matrix::new("z", 2, 2));
    let message = format!("{:#}", plan.finish().expect_err("bytes are no floats"));
    assert!(message.contains("holds Byte where F32 is needed"), "{message}");
}

fn a_matrix_too_large_for_the_adapter_is_refused(adapter: &AdapterUnderTest) -> Result<(), Ignored> {
    let side = ((adapter.largest_matrix() / 4) as f64).sqrt() as usize + 2;
    if u32::try_from(side * side).is_err() {
        return Err(Ignored("it holds more than any shader can address: the recorder refuses earlier".into()));
    }
    let (z, a) = (Matrix::new("z", side, side), Matrix::new("a", side, side));
    let mut plan = Recorder::new("too large");
    plan.activate(&SIGMOID, &z, &a);
    let plan = plan.finish().expect("the shapes fit");
    let mut gpu = adapter.open(primitive()).expect("the adapter opens");
    let message = format!("{:#}", gpu.load(&[plan]).expect_err("more than the adapter holds"));
    assert!(message.contains("z (") && message.contains("use --device cpu"), "{message}");
    Ok(())
}

trials! {
    once:
        the_cpu_executor_agrees_with_the_twins,
        the_number_of_threads_changes_no_bit,
        wrong_shapes_are_refused_by_name;
    on_each_adapter:
        long_loops_are_right_or_refused,
        gpu_kernels_agree_with_their_twins,
        a_matrix_too_large_for_the_adapter_is_refused;
}
