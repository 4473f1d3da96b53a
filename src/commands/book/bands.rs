//! The book's figures, and bands around our results.
//!
//! A band holds the results of repeated seeds (0 to 9), widened on either side by the distance from
//! their mean to the farther end: a result outside is not due to chance. There are bands for MNIST
//! and for the short form on the digits.

/// A result of an experiment: experiment, name, the book's figure, and the bands on MNIST and on
/// the digits.
type Row = (&'static str, &'static str, Option<f64>, [f64; 2], [f64; 2]);

const ANY: [f64; 2] = [0.0, 100.0];

const ROWS: [Row; 22] = [
    ("network", "accuracy", Some(95.0), [94.42, 95.9], [63.62, 100.0]),
    ("hidden-100", "accuracy", Some(96.59), [52.52, 100.0], [55.24, 100.0]),
    ("saturated-neuron", "output at first", Some(0.98), [0.981, 0.983], [0.981, 0.983]),
    ("saturated-neuron", "quadratic, step 50", None, [0.975, 0.977], [0.975, 0.977]),
    ("saturated-neuron", "quadratic, step 300", Some(0.20), [0.202, 0.204], [0.202, 0.204]),
    ("saturated-neuron", "cross-entropy, step 50", None, [0.098, 0.1], [0.098, 0.1]),
    ("saturated-neuron", "cross-entropy, step 300", None, [0.011, 0.013], [0.011, 0.013]),
    ("cross-entropy", "accuracy, 30 hidden", Some(95.49), [94.61, 95.73], [94.01, 99.58]),
    ("cross-entropy", "accuracy, 100 hidden", Some(96.82), [96.14, 97.22], [95.07, 100.0]),
    ("softmax", "accuracy", Some(97.80), [97.41, 98.17], [94.62, 98.13]),
    ("overfitting", "training accuracy", Some(100.0), [99.5, 100.0], [99.5, 100.0]),
    ("overfitting", "test accuracy", Some(82.27), [81.46, 88.29], [78.89, 100.0]),
    ("regularization", "training accuracy", Some(100.0), [99.5, 100.0], [99.5, 100.0]),
    ("regularization", "test accuracy", Some(87.1), [86.56, 90.49], [82.78, 100.0]),
    ("initialization", "large, epoch 1", Some(86.4), [83.93, 87.97], [28.08, 70.25]),
    ("initialization", "large, epoch 30", Some(96.4), [95.05, 96.56], [91.29, 98.71]),
    ("initialization", "scaled, epoch 1", Some(92.7), [91.04, 93.14], [0.0, 65.29]),
    ("initialization", "scaled, epoch 30", Some(96.5), [95.0, 96.96], [91.62, 100.0]),
    ("layer-speeds", "hidden layer 1", Some(0.0030), [0.001, 0.0053], [0.00043, 0.0094]),
    ("layer-speeds", "hidden layer 2", Some(0.0171), [0.0063, 0.02], [0.0029, 0.035]),
    ("layer-speeds", "hidden layer 3", Some(0.0695), [0.036, 0.093], [0.015, 0.13]),
    ("layer-speeds", "hidden layer 4", Some(0.285), [0.18, 0.55], [0.1, 0.52]),
];

/// The book's figure on MNIST (none on the digits), and the band.
pub fn of(experiment: &str, name: &str, is_mnist: bool) -> (Option<f64>, [f64; 2]) {
    let row = ROWS.iter().find(|row| (row.0, row.1) == (experiment, name));
    let of_no_data = experiment == "saturated-neuron";
    row.map_or((None, ANY), |row| match is_mnist {
        true => (row.2, row.3),
        false => (row.2.filter(|_| of_no_data), row.4),
    })
}
