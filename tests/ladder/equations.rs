//! Chapter 2 against a port of the book's own algorithm, and that port against finite differences.

use crate::closeness::{assert_close, assert_within, sum_tolerance, wide};
use crate::networks::{Entries, Kind, Learned, Network, Rung, WeightedEpoch, equations, mini_batch, networks};
use crate::nielsen::{Network as Oracle, Rows, Step, Vector};
use crate::numbers::{random, random_below};
use gpu_backprop::backprop::{self, Matrices};
use gpu_backprop::cpu::Cpu;
use gpu_backprop::data::{Data, Dataset, Inputs, Scale, Split, Targets};
use gpu_backprop::network::activation::{self, LEAKY_RELU, SOFTMAX};
use gpu_backprop::network::cost::{self, LOG_LIKELIHOOD};
use gpu_backprop::network::learning::{Dropout, LearningRule};
use gpu_backprop::network::optimizer::{self, ADAM, GRADIENT, Optimizer, SGD, Settings};
use gpu_backprop::network::{Initialization, Parameters, Topology};
use gpu_backprop::plan::executor::{Executor, PlanId};
use gpu_backprop::plan::{Equation, Matrix};
use gpu_backprop::system::random::{Stream, rng};
use gpu_backprop::training::{Decline, Hyperparameters, PartOfData, Schedule, Trainer};
use rand::seq::SliceRandom;

/// Every small network, by every pair of a cost with outputs that it is for, and with every hidden layer.
fn topologies() -> impl Iterator<Item = Topology> {
    let small = networks(Rung::Cpu).filter(|network| network.topology().widest() <= 9);
    let pairs = || cost::ALL.into_iter().flat_map(|cost| cost.suits.iter().map(move |&output| (cost, output)));
    small.flat_map(move |network| {
        let with = move |hidden, (cost, output)| Network { hidden, output, cost, ..network }.topology();
        activation::OF_NEURONS.into_iter().flat_map(move |hidden| pairs().map(move |pair| with(hidden, pair)))
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

/// Examples with desired outputs that are no classes: any numbers will do for the equations, but for those of softmax, which
/// are of outputs that sum to 1.
fn examples(topology: &Topology, m: usize) -> (Vec<f32>, Vec<f32>) {
    let outputs = topology.n[topology.last()];
    let y = match topology.output.normalizes {
        true => one_hot(&random_below(32, m, outputs as u32), outputs),
        false => random(32, m * outputs),
    };
    (random(31, m * topology.n[1]), y)
}

fn one_hot(classes: &[u32], outputs: usize) -> Vec<f32> {
    let of_class = |&class: &u32| (0..outputs as u32).map(move |j| f32::from(u8::from(j == class)));
    classes.iter().flat_map(of_class).collect()
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
        // A difference across a kink is none; softmax has one for rounding alone.
        let kinks = activation::OF_NEURONS.into_iter().filter(|row| !row.kinks.is_empty());
        let kinks: Vec<&str> = kinks.map(|row| row.name).collect();
        if oracle(&topology, &parameters).smallest_weighted_input(&x, &kinks) < 0.02 {
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
    for (i, topology) in topologies().enumerate() {
        // As many optimizers as share no divisor with the topologies of a shape; and all else with each of them.
        let (optimizer, rest) = (optimizer::ALL[i % optimizer::ALL.len()], i / optimizer::ALL.len());
        let dropout = if rest / 2 % 2 == 1 { 0.3 } else { 0.0 };
        let rule = LearningRule { optimizer, decays: rest % 2 == 1, dropout };
        for m in [1, 3, 10] {
            check_equations(&mut Cpu::of_twins(), &topology, rule, m, true);
            check_equations(&mut Cpu::new(1), &topology, rule, m, false);
        }
    }
}

/// The factor of dropout for neuron k of layer `l` of the weights, for an example of the mini-batch.
fn factor_of(topology: &Topology, dropout: f32, step: u32, seed: u32) -> impl Fn(usize, usize, usize) -> f64 {
    let widths = topology.widths().to_vec();
    move |example, l, k| match dropout {
        0.0 => 1.0,
        // Weights of layer 2 come first.
        p => Dropout::new(l + 2, p).factor((example * widths[l + 1] + k) as u32, step, seed).into(),
    }
}

/// The step of the oracle, counted from 1.
fn step_of(settings: &Settings, eta: f32, number: u64) -> Step {
    let Settings { momentum, beta1, beta2, epsilon } = *settings;
    let [eta, momentum, beta1, beta2, epsilon] = [eta, momentum, beta1, beta2, epsilon].map(f64::from);
    Step { eta, momentum, beta1, beta2, epsilon, number: number as i32 }
}

fn check_equations(
    executor: &mut dyn Executor,
    topology: &Topology,
    rule: LearningRule,
    m: usize,
    makes_gradients: bool,
) {
    let net = Matrices::new(topology, m);
    let plan = equations(topology, rule, &net, true);
    let LearningRule { optimizer, decays, dropout } = rule;

    let parameters = parameters(topology, 5);
    let (x, y) = examples(topology, m);
    executor.load(&[plan]).expect("load");
    executor.write(&net.a[1], &x).expect("write");
    executor.write(&net.y, &y).expect("write");
    for l in 2..=topology.last() {
        executor.write(&net.w[l], &parameters.w[l]).expect("write");
        executor.write(&net.b[l], &parameters.b[l]).expect("write");
    }
    let examples: Vec<(Vector, Vector)> =
        rows(&x, topology.n[1]).into_iter().zip(rows(&y, topology.n[topology.last()])).collect();
    let ones = vec![1.0; m];
    let of_oracle = crate::nielsen::optimizer(optimizer.name).expect("an oracle");
    let mut network = oracle(topology, &parameters);
    // The second step also reads the state that the first one leaves.
    for number in [1, 2] {
        let mini_batch = mini_batch(optimizer, number);
        // Each step of the oracle begins where the executor is: a step of some optimizers is nearly the sign of a gradient,
        // which rounding may turn, and what that does to the next step nothing bounds.
        let mut before = Entries::of_network(topology, rule, &net);
        for entries in &mut before {
            entries.before = entries.matrices.iter().map(|matrix| executor.read(matrix).expect("read")).collect();
        }
        for (pair, i) in before.chunks(2).zip(0..) {
            let [w, b] = pair else { panic!("weights, then biases") };
            let cols = topology.n[i + 1];
            network.weights[i] = rows(&w.before[0], cols);
            network.biases[i] = wide(&b.before[0]);
            // GRADIENT does not read its state.
            for (s, state) in w.before[1..].iter().enumerate() {
                let of_entry = |at: usize, value: f32, network: &mut Oracle| {
                    network.weights_state[i][at / cols][at % cols][s] = value.into();
                };
                state.iter().enumerate().for_each(|(at, &value)| of_entry(at, value, &mut network));
            }
            for (s, state) in b.before[1..].iter().enumerate() {
                state.iter().zip(&mut network.biases_state[i]).for_each(|(&value, entry)| entry[s] = value.into());
            }
        }
        executor.run(PlanId(0), &[mini_batch], &mut |_| ()).expect("run");

        let factor = factor_of(topology, dropout, mini_batch.step, mini_batch.seed);
        let of_example =
            |(i, (x, y)): (usize, &(Vector, Vector))| network.backprop_without(x, y, &|l, k| factor(i, l, k));
        let gradients: Vec<_> = examples.iter().enumerate().map(of_example).collect();
        let decay = if decays { [1.0 - f64::from(mini_batch.keep), mini_batch.l1.into()] } else { [0.0; 2] };
        let step = step_of(&optimizer.settings, mini_batch.eta, number);
        network.update_mini_batch(&examples, &ones, of_oracle, &step, decay, &factor);

        // Values are of the order of 1. Each layer, forward and back, adds the roundings of a sum of
        // its width; a gradient adds those of a sum over the mini-batch.
        let widest = topology.widest();
        let layers = 2.0 * topology.last() as f64;
        // An error may be as large as that of an output, and grow with each layer that does not damp it.
        let largest = gradients.iter().flat_map(|gradient| gradient.delta.iter().flatten());
        let scale = largest.fold(1f64, |largest, delta| largest.max(delta.abs()));
        let tolerance = 2.0 * scale * layers * sum_tolerance(widest, widest as f64);
        let summed = tolerance * m as f64;
        let what = |what: &str, l: usize| {
            format!("{topology} ({}, {rule}), m = {m}, step {number}: {what}, layer {l}", topology.rows())
        };
        let mut read = |matrix: &Matrix| -> Vec<f32> { executor.read(matrix).expect("read") };
        for l in 2..=topology.last() {
            let i = l - 2;
            let delta: Vector = gradients.iter().flat_map(|gradient| gradient.delta[i].clone()).collect();
            let equation = if l == topology.last() { "BP1" } else { "BP2" };
            assert_close(&what(equation, l), topology.n[l], &read(&net.delta[l]), &delta, tolerance);
            let mut nabla_b = vec![0.0; topology.n[l]];
            let mut nabla_w = vec![0.0; topology.n[l] * topology.n[l - 1]];
            for gradient in &gradients {
                nabla_b.iter_mut().zip(&gradient.nabla_b[i]).for_each(|(sum, term)| *sum += term);
                nabla_w.iter_mut().zip(gradient.nabla_w[i].iter().flatten()).for_each(|(sum, term)| *sum += term);
            }
            if makes_gradients {
                assert_close(&what("BP3", l), 1, &read(&net.nabla_b[l]), &nabla_b, summed);
                assert_close(&what("BP4", l), topology.n[l - 1], &read(&net.nabla_w[l]), &nabla_w, summed);
            }
            let of_weights = (network.weights[i].concat(), network.weights_state[i].concat(), nabla_w);
            let of_biases = (network.biases[i].clone(), network.biases_state[i].clone(), nabla_b);
            for (entries, (parameter, states, nabla)) in before[2 * i..].iter().zip([of_weights, of_biases]) {
                let gradient: Vec<f32> = nabla.iter().map(|&value| value as f32).collect();
                let tolerances = entries.tolerances(&gradient, summed, m, &mini_batch);
                for (s, (matrix, tolerances)) in entries.matrices.iter().zip(&tolerances).enumerate() {
                    // Of the mean, where the program keeps the sum.
                    let factor = if optimizer == &GRADIENT { m as f64 } else { 1.0 };
                    let expected: Vector = match s {
                        0 => parameter.clone(),
                        _ => states.iter().map(|state| factor * state[s - 1]).collect(),
                    };
                    let what = what(&format!("descent of {}", matrix.name), l);
                    assert_within(&what, matrix.cols, &read(matrix), &expected, |entry| tolerances[entry]);
                }
            }
        }
    }
}

/// A whole epoch with a ragged last mini-batch, through the trainer: as in the book, and by each optimizer with all that
/// changes from step to step, which is decay, dropout, a schedule of η and the number of the step.
fn an_epoch_agrees_with_the_oracle() {
    for learned in Learned::ALL {
        for mut executor in [Cpu::of_twins(), Cpu::new(1)] {
            check_epoch(&mut executor, Network::new(&[5, 4, 3], 5, Kind::Floats, learned), Schedule::CONSTANT);
            for optimizer in optimizer::CHOICES {
                check_epoch(&mut executor, modern(optimizer, learned), SCHEDULE);
            }
        }
    }
}

/// η becomes smaller in every step.
const SCHEDULE: Schedule = Schedule { decline: Decline::Exponential, factor: 0.25, ..Schedule::CONSTANT };

/// A network with everything that is not in the book's first chapters.
fn modern(optimizer: &'static Optimizer, learned: Learned) -> Network {
    let book = Network::new(&[5, 4, 3], 5, Kind::Floats, learned);
    let rows = Network { hidden: &LEAKY_RELU, optimizer, decays: true, dropout: 0.3, ..book };
    match learned {
        Learned::Numbers => rows,
        Learned::Classes | Learned::WeightedClasses => Network { output: &SOFTMAX, cost: &LOG_LIKELIHOOD, ..rows },
    }
}

fn check_epoch(executor: &mut dyn Executor, network: Network, schedule: Schedule) {
    let (examples, m, seed, learned) = (13, network.m, 9 + (5 << 32), network.learned);
    let topology = network.topology();
    let eta = if learned == Learned::Numbers || network.hidden.any_number { 0.1 } else { 3.0 };
    let hyperparameters = Hyperparameters { schedule, ..network.hyperparameters(eta, examples, seed) };
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
    let rule = network.rule();
    let mut network = oracle(&topology, &parameters);
    for (number, mini_batch) in (1..).zip(order.chunks(m)) {
        let weights: Vec<f64> = mini_batch.iter().map(|&i| weight(i)).collect();
        let mini_batch: Vec<_> = mini_batch.iter().map(|&i| all[i].clone()).collect();
        // Steps are counted from 1, and the schedule begins with 0; the other half of the seed counts too.
        let eta = f64::from(hyperparameters.eta) * f64::from(schedule.factor).powf((number - 1) as f64 / 3.0);
        let decay =
            [hyperparameters.lambda, hyperparameters.l1].map(|lambda| eta * f64::from(lambda) / examples as f64);
        let factor = factor_of(&topology, rule.dropout, number as u32 - 1, 9 ^ 5);
        let of_oracle = crate::nielsen::optimizer(rule.optimizer.name).expect("an oracle");
        let step = step_of(&hyperparameters.settings, eta as f32, number);
        network.update_mini_batch(&mini_batch, &weights, of_oracle, &step, decay, &factor);
    }
    let trained = trainer.parameters().expect("read");
    let tolerance = 3.0 * 6.0 * sum_tolerance(5, 5.0) * m as f64;
    for l in 2..=3 {
        let what = |name: &str| format!("{name}{l}, {learned:?}, {rule}");
        assert_close(&what("w"), topology.n[l - 1], &trained.w[l], &network.weights[l - 2].concat(), tolerance);
        assert_close(&what("b"), 1, &trained.b[l], &network.biases[l - 2], tolerance);
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

/// Examples that each have a weight of their own, of classes and of numbers, in the order of a permutation.
fn weights_of_examples_agree_with_the_oracle() {
    for learned in [Learned::Classes, Learned::Numbers] {
        for optimizer in optimizer::CHOICES {
            for mut executor in [Cpu::of_twins(), Cpu::new(1)] {
                check_weighted(&mut executor, modern(optimizer, learned));
            }
        }
    }
}

fn check_weighted(executor: &mut dyn Executor, network: Network) {
    let epoch = WeightedEpoch::new(network);
    let (topology, m, examples) = (network.topology(), network.m, WeightedEpoch::EXAMPLES);
    let found = epoch.run(executor);
    let Inputs::Floats(x) = network.kind.inputs(examples * network.features()) else { panic!("floats were made") };
    let x = rows(&x, network.features());
    let y = match network.learned {
        Learned::Numbers => epoch.numbers.clone(),
        _ => one_hot(&epoch.labels, network.outputs()),
    };
    let y = rows(&y, network.outputs());
    let mut oracle = oracle(&topology, &epoch.initial);
    for (number, (mini_batch, numbers)) in (1..).zip(epoch.mini_batches().iter().zip(epoch.order.chunks(m))) {
        let pairs: Vec<_> = numbers.iter().map(|&i| (x[i as usize].clone(), y[i as usize].clone())).collect();
        let weights: Vec<f64> = numbers.iter().map(|&i| epoch.weights[i as usize].into()).collect();
        let decay = [1.0 - f64::from(mini_batch.keep), mini_batch.l1.into()];
        let factor = factor_of(&topology, network.dropout, mini_batch.step, mini_batch.seed);
        let of_oracle = crate::nielsen::optimizer(network.optimizer.name).expect("an oracle");
        let step = step_of(&epoch.hyperparameters.settings, mini_batch.eta, number);
        oracle.update_mini_batch(&pairs, &weights, of_oracle, &step, decay, &factor);
    }
    // Each step adds the roundings of sums as long as a layer is wide, forward and back, and over the mini-batch.
    let tolerance = epoch.mini_batches().len() as f64 * 6.0 * sum_tolerance(5, 5.0) * m as f64;
    for l in 2..=topology.last() {
        let what = |name: &str| format!("{name}{l}, {network}");
        assert_close(&what("w"), topology.n[l - 1], &found.w[l], &oracle.weights[l - 2].concat(), tolerance);
        assert_close(&what("b"), 1, &found.b[l], &oracle.biases[l - 2], tolerance);
    }
}

/// The plan says which equation each step belongs to, in the order of the chapter.
fn the_plan_follows_the_chapter() {
    let topology = Network::new(&[7, 5, 4, 3], 2, Kind::Floats, Learned::Classes).topology();
    let dataset = Dataset::new(Inputs::Floats(random(51, 14)), 7, vec![0, 2]).expect("a data set");
    let order = Matrix::of(gpu_backprop::plan::Element::U32, "order", 2, 1);
    let examples = gpu_backprop::training::examples_of(&dataset, &order);
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
    // What chapter 3 adds stands where it belongs.
    let topology = topology.with_output(&SOFTMAX);
    let rule = LearningRule { optimizer: &ADAM, decays: true, dropout: 0.25 };
    let plan = backprop::training_plan(&topology, &examples, 2, rule).expect("the shapes fit");
    let position = |equation: Equation, formula: &str| {
        let text = |step: &gpu_backprop::plan::Step| step.equation == equation && step.to_string().contains(formula);
        plan.steps.iter().position(text).unwrap_or_else(|| panic!("{formula} is not in {equation} of\n{plan}"))
    };
    let positions = [
        position(Feedforward, "a2 = σ(z2)"),
        position(Feedforward, "kept_a2 = a2 ⊙ mask2/0.75"),
        position(Feedforward, "z3 = kept_a2 w3ᵀ"),
        position(Feedforward, "z4 -= ln Σ exp(z4)"),
        position(Feedforward, "a4 = σ(z4)"),
        position(Bp2, "delta3 = all_delta3 ⊙ mask3/0.75"),
        position(Bp4, "nabla_w3 = Σₓ delta3 kept_a2ᵀ"),
        position(Descent, "w3 = (1 - ηλ/n) w3 - (ηλ₁/n) sgn(w3)"),
        position(Descent, "w3 -= η w3.mean / (√w3.squares + ε)"),
    ];
    assert!(positions.is_sorted(), "{plan}");
    assert!(!plan.to_string().contains("sgn(b"), "biases do not decay");
}

trials! {
    once:
        the_oracle_agrees_with_finite_differences,
        the_plan_agrees_with_the_oracle,
        an_epoch_agrees_with_the_oracle,
        weights_of_examples_agree_with_the_oracle,
        the_plan_follows_the_chapter;
}
