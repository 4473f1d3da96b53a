//! The learning rule: what a step of training does besides the equations of backpropagation.

use super::optimizer::Optimizer;

/// The learning rule, as far as the kernels of a plan depend on it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LearningRule {
    /// The optimizer.
    pub optimizer: &'static Optimizer,
    /// Weights decay (L2 or L1 regularization); biases do not.
    pub decays: bool,
    /// The probability with which dropout leaves out a neuron of a hidden layer; 0 for no dropout.
    pub dropout: f32,
}

impl From<&'static Optimizer> for LearningRule {
    /// The optimizer alone.
    fn from(optimizer: &'static Optimizer) -> Self {
        LearningRule { optimizer, decays: false, dropout: 0.0 }
    }
}

impl std::fmt::Display for LearningRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.optimizer.name)?;
        f.write_str(if self.decays { ", weight decay" } else { "" })?;
        f.write_str(if self.dropout > 0.0 { ", dropout" } else { "" })
    }
}

/// Dropout of one layer: counter-based random numbers (pcg4d, Jarzynski and Olano, 2020), the same
/// on the host and on every device.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Dropout {
    /// The layer.
    pub layer: u32,
    /// A neuron is dropped if its 32-bit random number is below this.
    pub threshold: u32,
    /// 1/(1 − p), by which kept neurons are multiplied.
    pub factor: f32,
}

impl Dropout {
    /// Dropout of `layer` with probability p, 0 < p < 1.
    pub fn new(layer: usize, p: f32) -> Self {
        // 2³² p is below 2³².
        Dropout { layer: layer as u32, threshold: (f64::from(p) * 2f64.powi(32)) as u32, factor: 1.0 / (1.0 - p) }
    }

    /// The factor of a neuron, 0 or 1/(1 − p); `neuron` is its index in `a[l]`, `(m, n[l])`.
    #[inline(always)]
    pub fn factor(&self, neuron: u32, step: u32, seed: u32) -> f32 {
        let mixed = |x: u32| x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let [mut x, mut y, mut z, mut w] = [neuron, self.layer, step, seed].map(mixed);
        x = x.wrapping_add(y.wrapping_mul(w));
        y = y.wrapping_add(z.wrapping_mul(x));
        z = z.wrapping_add(x.wrapping_mul(y));
        w = w.wrapping_add(y.wrapping_mul(z));
        [x, y, w] = [x, y, w].map(|v| v ^ (v >> 16));
        x = x.wrapping_add(y.wrapping_mul(w));
        if x < self.threshold { 0.0 } else { self.factor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fraction of dropped neurons, over neurons, steps and seeds, and of dropped pairs.
    #[test]
    fn a_neuron_is_dropped_with_its_probability_whatever_else_is() {
        for p in [0.1, 0.5, 0.8f32] {
            let dropped = |of: &dyn Fn(u32) -> f32| {
                let dropped = (0..20_000).map(of).filter(|&factor| factor == 0.0).count();
                dropped as f64 / 20_000.0
            };
            let dropout = Dropout::new(2, p);
            let found = [
                dropped(&|i| dropout.factor(i, 1, 0)),
                dropped(&|i| dropout.factor(7, i, 0)),
                dropped(&|i| dropout.factor(7, 1, i)),
                // Both of two neighbours, layers or steps are dropped with probability p².
                dropped(&|i| dropout.factor(i, 1, 0).max(dropout.factor(i + 1, 1, 0))).sqrt(),
                dropped(&|i| dropout.factor(i, 1, 0).max(Dropout::new(3, p).factor(i, 1, 0))).sqrt(),
                dropped(&|i| dropout.factor(i, 1, 0).max(dropout.factor(i, 2, 0))).sqrt(),
            ];
            for found in found {
                // Four standard deviations, of the root of p² too.
                assert!((found - f64::from(p)).abs() < 0.02, "{p}: {found}");
            }
            assert_eq!(dropout.factor, 1.0 / (1.0 - p));
        }
    }
}
