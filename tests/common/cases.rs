//! One list of cases: every kernel over awkward shapes, with inputs and a derived tolerance.

use gpu_backprop::kernel::MiniBatch;
use gpu_backprop::kernel::product::Form;
use gpu_backprop::network::activation::{self, Activation};
use gpu_backprop::network::cost::{self, Cost, MeasuredFrom};
use gpu_backprop::network::optimizer::{self, Optimizer};
use gpu_backprop::plan::{Element, Matrix, Plan, Recorder};

use crate::closeness::{MEAN_MAGNITUDE, sum_tolerance};
use crate::numbers::{random, random_below};

/// One kernel on one shape.
pub struct Case {
    /// A plan of one step.
    pub plan: Plan,
    /// The numbers of each operand that is read, as bytes.
    pub inputs: Vec<(Matrix, Vec<u8>)>,
    /// The entries of each operand that is changed in place, beforehand.
    pub before: Vec<Vec<f32>>,
    /// The mini-batch of the step.
    pub mini_batch: MiniBatch,
    /// The largest difference of an entry from the twin's; 0 for kernels that do not round, or round once.
    pub tolerance: f64,
    /// The same for each entry of each output, where one bound for all would be none for most.
    pub tolerances: Vec<Vec<f64>>,
}

impl Case {
    /// The largest difference of an entry of an output from the twin's.
    pub fn tolerance(&self, output: usize, entry: usize) -> f64 {
        self.tolerances.get(output).map_or(self.tolerance, |of_output| of_output[entry])
    }
}

const EPSILON: f64 = f32::EPSILON as f64;

/// Around the tiles of 8 and the lines of 64, primes, 1, and never square.
const PRODUCTS: [(usize, usize, usize); 10] = [
    (1, 1, 1),
    (1, 2, 300),
    (3, 5, 7),
    (7, 8, 9),
    (9, 7, 8),
    (8, 9, 7),
    (10, 30, 97),
    (65, 63, 64),
    (17, 129, 1),
    // Enough work to be shared among threads.
    (100, 300, 64),
];

/// More rows than 65,535 work groups of 8 reach in one dimension.
const TALL_PRODUCT: (usize, usize, usize) = (8 * 65_535 + 9, 1, 2);

const SHAPES: [(usize, usize); 8] = [(1, 1), (1, 63), (64, 1), (5, 13), (13, 5), (10, 30), (31, 67), (2, 1009)];

/// More entries than 65,535 work groups of 64 reach in one dimension.
const LONG_SHAPE: (usize, usize) = (64 * 65_535 / 7 + 1, 7);

/// All cases of all kernels.
pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for (rows, cols, inner) in PRODUCTS.into_iter().chain([TALL_PRODUCT]) {
        cases.extend(Form::ALL.map(|form| matmul(form, rows, cols, inner)));
        cases.push(outer_product(rows, cols, inner));
    }
    for shape @ (rows, cols) in SHAPES.into_iter().chain([LONG_SHAPE]) {
        cases.extend([
            add_bias(rows, cols),
            hadamard(rows, cols),
            gather(rows, cols),
            gather_bytes(rows, cols),
            one_hot(rows, cols),
            weigh(rows, cols),
            normalize_rows(rows, cols),
            dropout(rows, cols),
            decay(rows, cols),
        ]);
        // Every row of the network; of the long shape, which takes long, the first.
        let few = if shape == LONG_SHAPE { 1 } else { usize::MAX };
        for row in activation::ALL.into_iter().take(few) {
            cases.extend([activate(row, rows, cols), activate_prime(row, rows, cols)]);
        }
        cases.extend(cost::ALL.into_iter().take(few).map(|row| output_error(row, rows, cols)));
        cases.extend(optimizer::ALL.into_iter().take(few).map(|row| update(row, rows, cols)));
    }
    for (rows, cols) in SHAPES {
        cases.extend([column_sum(rows, cols), number_correct(rows, cols), squared_errors(rows, cols)]);
        cases.extend(cost::ALL.map(|row| total_cost(row, rows, cols)));
    }
    cases
}

/// The numbers of a matrix that a case reads.
fn floats(matrix: &Matrix, seed: u64) -> (Matrix, Vec<u8>) {
    values(matrix, &random(seed, matrix.len()))
}

fn values<T: bytemuck::Pod>(matrix: &Matrix, values: &[T]) -> (Matrix, Vec<u8>) {
    (matrix.clone(), bytemuck::cast_slice(values).to_vec())
}

fn case(recorder: Recorder, inputs: Vec<(Matrix, Vec<u8>)>, tolerance: f64) -> Case {
    let plan = recorder.finish().expect("the shapes of a case fit");
    let mini_batch = MiniBatch::default();
    Case { plan, inputs, before: Vec::new(), mini_batch, tolerance, tolerances: Vec::new() }
}

fn matmul(form: Form, rows: usize, cols: usize, inner: usize) -> Case {
    let mut plan = Recorder::new(format!("matmul {form:?} {rows}x{cols}x{inner}"));
    let (x_rows, x_cols) = if form == Form::Tn { (inner, rows) } else { (rows, inner) };
    let (y_rows, y_cols) = if form == Form::Nt { (cols, inner) } else { (inner, cols) };
    let [x, y, z] = [Matrix::new("x", x_rows, x_cols), Matrix::new("y", y_rows, y_cols), Matrix::new("z", rows, cols)];
    plan.matmul(form, &x, &y, &z);
    case(plan, vec![floats(&x, 1), floats(&y, 2)], product_tolerance(inner))
}

/// Terms of [`random`] numbers: their magnitudes multiply.
fn product_tolerance(inner: usize) -> f64 {
    sum_tolerance(inner, inner as f64 * MEAN_MAGNITUDE * MEAN_MAGNITUDE).max(EPSILON * 4.0)
}

fn outer_product(rows: usize, cols: usize, examples: usize) -> Case {
    let mut plan = Recorder::new(format!("outer_product {rows}x{cols} of {examples}"));
    let [delta, a, nabla_w] =
        [Matrix::new("delta", examples, rows), Matrix::new("a", examples, cols), Matrix::new("nabla_w", rows, cols)];
    plan.outer_product(&delta, &a, &nabla_w);
    case(plan, vec![floats(&delta, 3), floats(&a, 4)], product_tolerance(examples))
}

fn add_bias(rows: usize, cols: usize) -> Case {
    let mut plan = Recorder::new(format!("add_bias {rows}x{cols}"));
    let [b, z] = [Matrix::new("b", 1, cols), Matrix::new("z", rows, cols)];
    plan.add_bias(&b, &z);
    Case { before: vec![random(6, z.len())], ..case(plan, vec![floats(&b, 5)], 0.0) }
}

/// Weighted inputs, among them the ones where a careless σ overflows.
fn weighted_inputs(seed: u64, len: usize) -> Vec<f32> {
    let mut z = random(seed, len);
    z.iter_mut().for_each(|z| *z *= 4.0);
    let hard = [0.0, -0.0, 17.0, -17.0, 88.8, -88.8, 104.0, -104.0, 1e4, -1e4, f32::MAX, f32::MIN];
    z.iter_mut().zip(hard).for_each(|(z, hard)| *z = hard);
    // The hard ones in the middle too, where a shape has more than one work group.
    z.iter_mut().rev().zip(hard).for_each(|(z, hard)| *z = hard);
    z
}

/// The larger of the bounds that a row gives for its function, over the arguments of a case.
fn worst(bounds: impl Iterator<Item = f64>) -> f64 {
    2.0 * bounds.fold(0.0, f64::max)
}

fn activate(row: &'static Activation, rows: usize, cols: usize) -> Case {
    let mut plan = Recorder::new(format!("activate, {}, {rows}x{cols}", row.name));
    let [z, a] = [Matrix::new("z", rows, cols), Matrix::new("a", rows, cols)];
    plan.activate(row, &z, &a);
    let numbers = weighted_inputs(7, z.len());
    let bound = |&z: &f32| (row.sigma_error)(f64::from(z), f64::from((row.sigma)(z)));
    case(plan, vec![values(&z, &numbers)], worst(numbers.iter().map(bound)))
}

fn activate_prime(row: &'static Activation, rows: usize, cols: usize) -> Case {
    let mut plan = Recorder::new(format!("activate_prime, {}, {rows}x{cols}", row.name));
    let [a, prime] = [Matrix::new("a", rows, cols), Matrix::new("sigma_prime", rows, cols)];
    plan.activate_prime(row, &a, &prime);
    let numbers: Vec<f32> = weighted_inputs(8, a.len()).into_iter().map(row.sigma).collect();
    let bound = |&a: &f32| (row.prime_error)(f64::from(a), f64::from((row.prime)(a)));
    case(plan, vec![values(&a, &numbers)], worst(numbers.iter().map(bound)))
}

fn hadamard(rows: usize, cols: usize) -> Case {
    let mut plan = Recorder::new(format!("hadamard {rows}x{cols}"));
    let [x, y, z] = ["x", "y", "z"].map(|name| Matrix::new(name, rows, cols));
    plan.hadamard(&x, &y, &z);
    case(plan, vec![floats(&x, 9), floats(&y, 10)], 0.0)
}

fn output_error(row: &'static Cost, rows: usize, cols: usize) -> Case {
    let mut plan = Recorder::new(format!("output_error, {}, {rows}x{cols}", row.name));
    let [a, y, prime, delta] = ["a", "y", "sigma_prime", "delta"].map(|name| Matrix::new(name, rows, cols));
    plan.output_error(row, &a, &y, &prime, &delta);
    // Numbers of -1 to 2: an error of 3, times 2.
    case(plan, vec![floats(&a, 11), floats(&y, 12), floats(&prime, 13)], 2.0 * (row.output_error_error)(2.0, 6.0))
}

fn column_sum(rows: usize, cols: usize) -> Case {
    let mut plan = Recorder::new(format!("column_sum {rows}x{cols}"));
    let [delta, nabla_b] = [Matrix::new("delta", rows, cols), Matrix::new("nabla_b", 1, cols)];
    plan.column_sum(&delta, &nabla_b);
    case(plan, vec![floats(&delta, 13)], sum_tolerance(rows, rows as f64 * MEAN_MAGNITUDE))
}

/// Weighted inputs in the place of outputs, of which the largest of a row may be far from the others.
fn normalize_rows(rows: usize, cols: usize) -> Case {
    let mut plan = Recorder::new(format!("normalize_rows {rows}x{cols}"));
    let z = Matrix::new("z", rows, cols);
    plan.normalize_rows(&z);
    let numbers: Vec<f32> = weighted_inputs(30, z.len()).into_iter().map(|z| z.clamp(-1e4, 1e4)).collect();
    // exp(z − largest) is off by 3 + 2|z − largest| units in the last place where it is 1 at most, so by 3, and a sum of so
    // many, of 1 at least, by one more for each; a logarithm by 4 ε near 1 and by 3 units elsewhere; two sums round.
    let of_row = |row: &[f32]| {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = row.iter().map(|z| f64::from(z - largest).exp()).sum();
        let (shift, of_sum) = (f64::from(largest) + sum.ln(), 4.0 * cols as f64);
        let of_shift = EPSILON * (of_sum + 4.0 + 3.0 * sum.ln() + shift.abs());
        row.iter().map(|z| 2.0 * (of_shift + EPSILON * (f64::from(*z) - shift).abs())).collect::<Vec<_>>()
    };
    let tolerances = vec![numbers.chunks_exact(cols).flat_map(of_row).collect()];
    Case { before: vec![numbers], tolerances, ..case(plan, Vec::new(), 0.0) }
}

/// The product with a factor, which rounds once.
fn dropout(rows: usize, cols: usize) -> Case {
    let mut plan = Recorder::new(format!("dropout {rows}x{cols}"));
    let [x, y] = ["x", "y"].map(|name| Matrix::new(name, rows, cols));
    plan.dropout(2, 0.3, &x, &y);
    let mini_batch = MiniBatch { step: 3, seed: 0xdead_beef, ..MiniBatch::default() };
    Case { mini_batch, ..case(plan, vec![floats(&x, 31)], 0.0) }
}

/// Weights, some of which are 0.
fn decay(rows: usize, cols: usize) -> Case {
    let mut plan = Recorder::new(format!("decay {rows}x{cols}"));
    let w = Matrix::new("w", rows, cols);
    plan.decay(&w);
    let weights: Vec<f32> = random(32, w.len()).into_iter().map(|w| if w.abs() < 0.1 { 0.0 } else { w }).collect();
    let mini_batch = MiniBatch { keep: 0.9, l1: 0.2, ..MiniBatch::default() };
    // A product and a sum of less than 2, where a device may round once.
    Case { before: vec![weights], mini_batch, ..case(plan, Vec::new(), 2.0 * EPSILON) }
}

fn update(row: &'static Optimizer, rows: usize, cols: usize) -> Case {
    let mut plan = Recorder::new(format!("update, {}, {rows}x{cols}", row.name));
    let [nabla_w, w] = [Matrix::new("nabla_w", rows, cols), Matrix::new("w", rows, cols)];
    let (m, eta) = (7, 3.0);
    plan.update(row, m, &nabla_w, &w);
    let mut before = vec![random(15, w.len())];
    for (seed, state) in (115..).step_by(100).zip(row.states) {
        let numbers = random(seed, w.len()).into_iter();
        // Means of squares are not negative, but may be 0.
        let number = |x: f32| if *state == "squares" { (x * x - 0.01).max(0.0) } else { x };
        before.push(numbers.map(number).collect());
    }
    let mini_batch = MiniBatch { eta, coefficients: (row.coefficients)(&row.settings, eta, 3), ..MiniBatch::default() };
    // Of the device and of the twin.
    let (gradient, rates) = (random(14, w.len()), mini_batch.rates(m));
    let mut tolerances = vec![Vec::with_capacity(w.len()); before.len()];
    for (i, &gradient) in gradient.iter().enumerate() {
        let mut old = optimizer::Entry::default();
        old.iter_mut().zip(&before).for_each(|(old, before)| *old = before[i]);
        let new = (row.update)(old, gradient, &rates).map(f64::from);
        let errors = (row.error)(&old.map(f64::from), gradient.into(), &rates, &new);
        tolerances.iter_mut().zip(errors).for_each(|(tolerances, error)| tolerances.push(2.0 * error));
    }
    Case { before, mini_batch, tolerances, ..case(plan, vec![values(&nabla_w, &gradient)], 0.0) }
}

/// An order of mini-batches of `rows` in which the one at `FIRST` is picked from.
const FIRST: usize = 5;
const EXAMPLES: usize = 11;

fn order(rows: usize) -> (Matrix, Vec<u8>) {
    let matrix = Matrix::of(Element::U32, "order", rows + FIRST + 3, 1);
    let order = random_below(16, matrix.len(), EXAMPLES as u32);
    values(&matrix, &order)
}

fn gathering(plan: Recorder, inputs: Vec<(Matrix, Vec<u8>)>) -> Case {
    Case { mini_batch: MiniBatch::evaluating(FIRST, 0), ..case(plan, inputs, 0.0) }
}

fn gather(rows: usize, cols: usize) -> Case {
    let mut plan = Recorder::new(format!("gather {rows}x{cols}"));
    let order = order(rows);
    let [inputs, a] = [Matrix::new("inputs", EXAMPLES, cols), Matrix::new("a", rows, cols)];
    plan.gather(&order.0, &inputs, &a);
    gathering(plan, vec![order, floats(&inputs, 17)])
}

fn gather_bytes(rows: usize, cols: usize) -> Case {
    let mut plan = Recorder::new(format!("gather_bytes {rows}x{cols}"));
    let order = order(rows);
    let [inputs, a] = [Matrix::of(Element::Byte, "inputs", EXAMPLES, cols), Matrix::new("a", rows, cols)];
    plan.gather_bytes(1.0 / 255.0, &order.0, &inputs, &a);
    let bytes: Vec<u8> = random_below(18, inputs.len(), 256).into_iter().map(|byte| byte as u8).collect();
    gathering(plan, vec![order, values(&inputs, &bytes)])
}

fn one_hot(rows: usize, cols: usize) -> Case {
    let mut plan = Recorder::new(format!("one_hot {rows}x{cols}"));
    let order = order(rows);
    let [labels, y] = [Matrix::of(Element::U32, "labels", EXAMPLES, 1), Matrix::new("y", rows, cols)];
    plan.one_hot(&order.0, &labels, &y);
    let classes = random_below(19, labels.len(), cols as u32);
    gathering(plan, vec![order, values(&labels, &classes)])
}

fn weigh(rows: usize, cols: usize) -> Case {
    let mut plan = Recorder::new(format!("weigh {rows}x{cols}"));
    let order = order(rows);
    let [weights, delta] = [Matrix::new("weights", EXAMPLES, 1), Matrix::new("delta", rows, cols)];
    plan.weigh(&order.0, &weights, &delta);
    Case { before: vec![random(26, delta.len())], ..gathering(plan, vec![order, floats(&weights, 25)]) }
}

fn squared_errors(rows: usize, cols: usize) -> Case {
    let mut plan = Recorder::new(format!("squared_errors {rows}x{cols}"));
    let [a, y] = ["a", "y"].map(|name| Matrix::new(name, rows, cols));
    let sums = Matrix::new("sums", SLOTS, cols);
    plan.squared_errors(&a, &y, &sums);
    // (y − a)² of numbers in -1..2 is 1½ on average.
    let tolerance = sum_tolerance(rows, 1.5 * rows as f64).max(16.0 * EPSILON);
    Case { mini_batch: MiniBatch::evaluating(0, SLOT), ..case(plan, vec![floats(&a, 28), floats(&y, 29)], tolerance) }
}

const SLOTS: usize = 3;
const SLOT: usize = 1;

fn total_cost(row: &'static Cost, rows: usize, cols: usize) -> Case {
    let mut plan = Recorder::new(format!("total_cost, {}, {rows}x{cols}", row.name));
    let [outputs, y] = ["outputs", "y"].map(|name| Matrix::new(name, rows, cols));
    let totals = Matrix::new("totals", SLOTS, 1);
    plan.total_cost(row, &outputs, &y, &totals);
    let numbers = match row.measured {
        MeasuredFrom::Activation => random(20, outputs.len()),
        MeasuredFrom::WeightedInput => random(20, outputs.len()).into_iter().map(|z| 20.0 * z).collect(),
    };
    let desired = random(21, y.len());
    let costs: Vec<(f64, f64)> =
        numbers.iter().zip(&desired).map(|(&z, &y)| (f64::from(z), f64::from((row.cost)(z, y)))).collect();
    let magnitude = costs.iter().map(|(_, cost)| cost.abs()).sum::<f64>();
    let rounding: f64 = costs.iter().map(|&(output, cost)| (row.cost_error)(output, cost)).sum();
    let tolerance = sum_tolerance(outputs.len(), magnitude) + 2.0 * rounding;
    let inputs = vec![values(&outputs, &numbers), values(&y, &desired)];
    Case { mini_batch: MiniBatch::evaluating(0, SLOT), ..case(plan, inputs, tolerance) }
}

fn number_correct(rows: usize, cols: usize) -> Case {
    let mut plan = Recorder::new(format!("number_correct {rows}x{cols}"));
    let [a, y] = ["a", "y"].map(|name| Matrix::new(name, rows, cols));
    let counts = Matrix::of(Element::U32, "counts", SLOTS, 1);
    plan.number_correct(&a, &y, &counts);
    // Few different outputs, so that ties happen; a third of the desired outputs are made right.
    let outputs: Vec<f32> = random_below(22, a.len(), 4).into_iter().map(|n| n as f32).collect();
    let mut desired = random(23, y.len());
    for row in (0..rows).step_by(3) {
        desired[row * cols..][..cols].copy_from_slice(&outputs[row * cols..][..cols]);
    }
    Case {
        mini_batch: MiniBatch::evaluating(0, SLOT),
        ..case(plan, vec![values(&a, &outputs), values(&y, &desired)], 0.0)
    }
}
