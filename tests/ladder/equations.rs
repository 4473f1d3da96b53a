//! Chapter 2 against a port of the book's own algorithm, and that port against finite differences.

use crate::closeness::{assert_close, sum_tolerance, wide};
use crate::networks::{Kind, Learned, Network, Rung, equations, networks};
use crate::nielsen::{Network as Oracle, Rows, Vector};
use crate::numbers::{random, random_below};
use gpu_backprop::backprop::{self, Matrices};
use gpu_backprop::cpu::Cpu;
use gpu_backprop::data::{Data, Dataset, Inputs, Scale, Split, Targets};
use gpu_backprop::kernel::MiniBatch;
use gpu_backprop::kernels::state_of;
use gpu_backprop::network::optimizer::{self, GRADIENT, Optimizer, SGD, Settings};
use gpu_backprop::network::{Initialization, Parameters, Topology, activation, cost};
use gpu_backprop::plan::executor::{Executor, PlanId};
use gpu_backprop::plan::{Equation, Matrix};
use gpu_backprop::system::random::{Stream, rng};
use gpu_backprop::training::{Hyperparameters, PartOfData, Trainer};
use rand::seq::SliceRandom;

/// Every small network, by every pair of a cost with outputs that it is for, and with every hidden layer.
fn topologies() -> impl Iterator<Item = Topology> {
    let small = networks(Rung::Cpu).filter(|network| network.topology().widest() <= 9);
    let pairs = || cost::ALL.into_iter().flat_map(|cost| cost.suits.iter().map(move |&output| (cost, output)));
    small.flat_map(move |network| {
        let with = move |hidden, (cost, output)| Network { hidden, output, cost, ..network }.topology();
        activation::ALL.into_iter().flat_map(move |hidden| pairs().map(move |pair| with(hidden, pair)))
    })
}

/// Weights of a variance that leaves weighted inputs of the order of 1: those of chapter 1 where σ is bounded.
fn parameters(topology: &Topology, seed: u64) -> Parameters {
    let bounded = !topology.activation.any_number && topology.activation.kinks.is_empty();
    let initialization = if bounded { Initialization::Large } else { Initialization::Scaled };
    Parameters::random(topology, initialization, seed).expect("memory")
}

/// The oracle's copy of a network.
fn oracle(topology: &Topology, parameters: &Parameters) -> Oracle {
    let layers = 2..=topology.last();
    let weights = layers.clone().map(|l| rows(&parameters.w[l], topology.n[l - 1])).collect();
    let biases = layers.map(|l| wide(&parameters.b[l])).collect();
    Oracle::new(weights, biases, topology.activation.name, topology.output.name, topology.cost.name)
}

fn rows(values: &[f32], cols: usize) -> Rows {
    values.chunks_exact(cols).map(wide).collect()
}

/// Examples with desired outputs that are no classes: any numbers will do for the equations.
fn examples(topology: &Topology, m: usize) -> (Vec<f32>, Vec<f32>) {
    (random(31, m * topology.n[1]), random(32, m * topology.n[topology.last()]))
}

/// The fourth-order central difference of `f` at 0.
fn central_difference(f: impl Fn(f64) -> f64) -> f64 {
    let h = 1e-3;
    (8.0 * (f(h) - f(-h)) - (f(2.0 * h) - f(-2.0 * h))) / (12.0 * h)
}

fn the_oracle_agrees_with_finite_differences() {
    let (mut checked, mut all) = (0, 0);
    for topology in topologies() {
        let widths = topology.widths();
        let parameters = parameters(&topology, 3);
        let (x, y) = examples(&topology, 1);
        let (x, y) = (wide(&x), wide(&y));
        all += 1;
        let kinks = [topology.activation, topology.output].iter().any(|row| !row.kinks.is_empty());
        // A difference across a kink is none.
        if kinks && oracle(&topology, &parameters).smallest_weighted_input(&x) < 0.02 {
            continue;
        }
        checked += 1;
        let gradient = oracle(&topology, &parameters).backprop(&x, &y);
        for l in 0..widths.len() - 1 {
            let mut pairs = Vec::new();
            for j in 0..widths[l + 1] {
                let moved = |change: &dyn Fn(&mut Oracle, f64), h: f64| {
                    let mut network = oracle(&topology, &parameters);
                    change(&mut network, h);
                    network.cost(&x, &y)
                };
                let by_bias = central_difference(|h| moved(&|network, h| network.biases[l][j] += h, h));
                pairs.push((gradient.nabla_b[l][j], by_bias));
                for k in 0..widths[l] {
                    let by_weight = central_difference(|h| moved(&|network, h| network.weights[l][j][k] += h, h));
                    pairs.push((gradient.nabla_w[l][j][k], by_weight));
                }
            }
            let largest = pairs.iter().map(|(exact, _)| exact.abs()).fold(0.0, f64::max);
            let error = pairs.iter().map(|(exact, measured)| (exact - measured).abs()).fold(0.0, f64::max);
            let what = format!("{topology} ({}), layer {}", topology.rows(), l + 2);
            assert!(error <= 1e-7 * largest, "{what}: error {error:e} of {largest:e}");
        }
    }
    assert!(4 * checked > 3 * all, "{checked} of {all} networks were checked");
}

/// Every matrix of every equation, for a mini-batch of each size, one layer at a time: by the twins,
/// and by the fused steps of the CPU executor, which descend without making the gradients.
fn the_plan_agrees_with_the_oracle() {
    for (topology, optimizer) in topologies().zip(optimizer::ALL.into_iter().cycle()) {
        for m in [1, 3, 10] {
            check_equations(&mut Cpu::of_twins(), &topology, optimizer, m, true);
            check_equations(&mut Cpu::new(1), &topology, optimizer, m, false);
        }
    }
}

fn check_equations(
    executor: &mut dyn Executor,
    topology: &Topology,
    optimizer: &'static Optimizer,
    m: usize,
    makes_gradients: bool,
) {
    let net = Matrices::new(topology, m);
    let plan = equations(topology, optimizer, &net, true);

    let parameters = parameters(topology, 5);
    let (x, y) = examples(topology, m);
    let eta = 0.7;
    executor.load(&[plan]).expect("load");
    executor.write(&net.a[1], &x).expect("write");
    executor.write(&net.y, &y).expect("write");
    for l in 2..=topology.last() {
        executor.write(&net.w[l], &parameters.w[l]).expect("write");
        executor.write(&net.b[l], &parameters.b[l]).expect("write");
    }
    let settings = Settings::default();
    let mini_batch = MiniBatch { eta, coefficients: (optimizer.coefficients)(&settings), ..MiniBatch::default() };
    // Twice: the second step also reads the state that the first one leaves.
    executor.run(PlanId(0), &[mini_batch; 2], &mut |_| ()).expect("run");

    let mut network = oracle(topology, &parameters);
    let mini_batch: Vec<(Vector, Vector)> =
        rows(&x, topology.n[1]).into_iter().zip(rows(&y, topology.n[topology.last()])).collect();
    let ones = vec![1.0; m];
    let of_oracle = crate::nielsen::optimizer(optimizer.name).expect("an oracle");
    let update = |network: &mut Oracle| {
        network.update_mini_batch(&mini_batch, &ones, of_oracle, f64::from(eta), f64::from(settings.momentum));
    };
    update(&mut network);
    let gradients: Vec<_> = mini_batch.iter().map(|(x, y)| network.backprop(x, y)).collect();
    update(&mut network);

    // Values are of the order of 1. Each layer, forward and back, adds the roundings of a sum of
    // its width; a gradient adds those of a sum over the mini-batch.
    let widest = topology.widest();
    let layers = 2.0 * topology.last() as f64;
    // An error may be as large as that of an output, and grow with each layer that does not damp it.
    let largest = gradients.iter().flat_map(|gradient| gradient.delta.iter().flatten());
    let scale = largest.fold(1f64, |largest, delta| largest.max(delta.abs()));
    let tolerance = 2.0 * scale * layers * sum_tolerance(widest, widest as f64);
    let summed = tolerance * m as f64;
    let mut close = |what: &str, l: usize, matrix: &Matrix, expected: Vector, tolerance: f64| {
        let found: Vec<f32> = executor.read(matrix).expect("read");
        let what = format!("{topology} ({}, {}), m = {m}: {what}, layer {l}", topology.rows(), optimizer.name);
        assert_close(&what, matrix.cols, &found, &expected, tolerance);
    };
    for l in 2..=topology.last() {
        let i = l - 2;
        let delta = gradients.iter().flat_map(|gradient| gradient.delta[i].clone()).collect();
        close(if l == topology.last() { "BP1" } else { "BP2" }, l, &net.delta[l], delta, tolerance);
        let mut nabla_b = vec![0.0; topology.n[l]];
        let mut nabla_w = vec![0.0; topology.n[l] * topology.n[l - 1]];
        for gradient in &gradients {
            nabla_b.iter_mut().zip(&gradient.nabla_b[i]).for_each(|(sum, term)| *sum += term);
            nabla_w.iter_mut().zip(gradient.nabla_w[i].iter().flatten()).for_each(|(sum, term)| *sum += term);
        }
        if makes_gradients {
            close("BP3", l, &net.nabla_b[l], nabla_b, summed);
            close("BP4", l, &net.nabla_w[l], nabla_w, summed);
        }
        close("descent of b", l, &net.b[l], network.biases[i].clone(), summed);
        close("descent of w", l, &net.w[l], network.weights[i].concat(), summed);
        let states = [(&net.w[l], network.weights_state[i].concat()), (&net.b[l], network.biases_state[i].clone())];
        for (parameter, state) in states {
            for matrix in state_of(optimizer, parameter) {
                // Of the mean, where the program keeps the sum.
                let factor = if optimizer == &GRADIENT { m as f64 } else { 1.0 };
                close("state", l, &matrix, state.iter().map(|value| factor * value).collect(), summed);
            }
        }
    }
}

/// A whole epoch with a ragged last mini-batch, through the trainer.
fn an_epoch_agrees_with_the_oracle() {
    for learned in Learned::ALL {
        for mut executor in [Cpu::of_twins(), Cpu::new(1)] {
            check_epoch(&mut executor, learned);
        }
    }
}

fn check_epoch(executor: &mut dyn Executor, learned: Learned) {
    let (examples, m, seed) = (13, 5, 9);
    let topology = Network::new(&[5, 4, 3], m, Kind::Floats, learned).topology();
    let eta = if learned == Learned::Numbers { 0.1 } else { 3.0 };
    let inputs = random(41, examples * 5);
    let labels = [vec![2], random_below(42, examples - 1, 3)].concat();
    let numbers: Vec<f64> = random(43, examples * 3).into_iter().map(|value| 100.0 + f64::from(value)).collect();
    let weights = [0.5, 1.0, 2.0];
    let split = Split::all_training(0..examples);
    let dataset = match learned {
        Learned::Numbers => {
            let targets = Targets::Numbers { values: numbers.clone(), width: 3 };
            let dataset = Dataset::with_targets(Inputs::Floats(inputs.clone()), 5, targets).expect("a data set");
            dataset.fit_targets(&split.training, Scale::Zscore).expect("they vary")
        }
        _ => Dataset::new(Inputs::Floats(inputs.clone()), 5, labels.clone()).expect("a data set"),
    };
    let dataset = match learned {
        Learned::WeightedClasses => dataset.weighted(weights.to_vec()).expect("a weight for each class"),
        _ => dataset,
    };
    let quantities = dataset.quantities().to_vec();
    let data = Data::new("random", dataset, split);
    let parameters = Parameters::random(&topology, Initialization::Scaled, seed).expect("memory");
    let hyperparameters = Hyperparameters::sgd(m, eta, seed);
    let mut trainer = Trainer::new(executor, &topology, &parameters, &data, hyperparameters).expect("a trainer");
    let mut steps = 0;
    trainer.train_epoch(&mut |done| steps += done).expect("an epoch");
    assert_eq!(steps, 3, "two whole mini-batches and a ragged one");

    let desired = |i: usize| -> Vector {
        match learned {
            Learned::Numbers => {
                (0..3).map(|j| (numbers[3 * i + j] - quantities[j].offset) / quantities[j].scale).collect()
            }
            _ => (0..3).map(|j| f64::from(u8::from(j == labels[i]))).collect(),
        }
    };
    let all: Vec<(Vector, Vector)> = rows(&inputs, 5).into_iter().enumerate().map(|(i, x)| (x, desired(i))).collect();
    let weight = |i: usize| match learned {
        Learned::WeightedClasses => f64::from(weights[labels[i] as usize]),
        _ => 1.0,
    };
    let mut order: Vec<usize> = (0..examples).collect();
    order.shuffle(&mut rng(seed, Stream::Shuffle { epoch: 0 }));
    let mut network = oracle(&topology, &parameters);
    for mini_batch in order.chunks(m) {
        let weights: Vec<f64> = mini_batch.iter().map(|&i| weight(i)).collect();
        let mini_batch: Vec<_> = mini_batch.iter().map(|&i| all[i].clone()).collect();
        network.update_mini_batch(
            &mini_batch,
            &weights,
            crate::nielsen::optimizer("sgd").expect("an oracle"),
            f64::from(eta),
            0.0,
        );
    }
    let trained = trainer.parameters().expect("read");
    let tolerance = 3.0 * 6.0 * sum_tolerance(5, 5.0) * m as f64;
    for l in 2..=3 {
        assert_close("w", topology.n[l - 1], &trained.w[l], &network.weights[l - 2].concat(), tolerance);
        assert_close("b", 1, &trained.b[l], &network.biases[l - 2], tolerance);
    }

    let measured = trainer.evaluate(PartOfData::Training).expect("evaluate").expect("not empty");
    let cost = all.iter().map(|(x, y)| network.cost(x, y)).sum::<f64>() / examples as f64;
    assert!((measured.cost - cost).abs() < tolerance, "cost {} where {cost} is right", measured.cost);
    assert_eq!(measured.examples, examples);
    if let Some(score) = measured.score {
        assert_eq!((learned, measured.correct), (Learned::Numbers, None));
        let (mut mse, mut r2) = (0.0, 0.0);
        for (j, quantity) in quantities.iter().enumerate() {
            let errors: f64 = all.iter().map(|(x, y)| (network.feedforward(x)[j] - y[j]).powi(2)).sum();
            mse += errors * quantity.scale.powi(2) / (3.0 * examples as f64);
            // In units of the standard deviation of all examples, whose squares add up to their number.
            r2 += (1.0 - errors / examples as f64) / 3.0;
        }
        assert!((score.mse - mse).abs() < tolerance, "{score:?} where {mse} is right");
        assert!((score.r2.expect("they vary") - r2).abs() < tolerance, "{score:?} where {r2} is right");
    } else {
        let largest = |values: &[f64]| (0..values.len()).max_by(|&i, &j| values[i].total_cmp(&values[j]));
        let correct = all.iter().filter(|(x, y)| largest(&network.feedforward(x)) == largest(y)).count();
        assert_eq!(measured.correct, Some(correct));
    }
    assert_eq!(trainer.evaluate(PartOfData::Test).expect("evaluate"), None, "there is no test part");
}

/// The plan says which equation each step belongs to, in the order of the chapter.
fn the_plan_follows_the_chapter() {
    let topology = Network::new(&[7, 5, 4, 3], 2, Kind::Floats, Learned::Classes).topology();
    let dataset = Dataset::new(Inputs::Floats(random(51, 14)), 7, vec![0, 2]).expect("a data set");
    let order = Matrix::of(gpu_backprop::plan::Element::U32, "order", 2, 1);
    let examples = gpu_backprop::training::examples_of(&dataset, &topology, &order);
    let plan = backprop::training_plan(&topology, &examples, 2, &SGD).expect("the shapes fit");
    let mut equations: Vec<Equation> = plan.steps.iter().map(|step| step.equation).collect();
    equations.dedup();
    use Equation::{Bp1, Bp2, Bp3, Bp4, Descent, Examples, Feedforward};
    assert_eq!(equations, [Examples, Feedforward, Bp1, Bp2, Bp3, Bp4, Descent]);
    let text = plan.to_string();
    for formula in [
        "z2 = a1 w2ᵀ",
        "a4 = σ(z4)",
        "delta4 = ∂C/∂a4 ⊙ sigma_prime4",
        "nabla_a3 = delta4 w4",
        "nabla_b2 = Σₓ delta2",
        "nabla_w3 = Σₓ delta3 a2ᵀ",
        "w4 -= (η/2) nabla_w4",
    ] {
        assert!(text.contains(formula), "{formula} is not in\n{text}");
    }
}

trials! {
    once:
        the_oracle_agrees_with_finite_differences,
        the_plan_agrees_with_the_oracle,
        an_epoch_agrees_with_the_oracle,
        the_plan_follows_the_chapter;
}
