//! Steps of gradient descent a second by burn's wgpu backend: sigmoid, quadratic cost, plain SGD, f32.
//!
//! `burn-peer LAYERS BATCH SECONDS`, such as `burn-peer 784,30,10 10 5`. Once as burn's users write it
//! (modules, autodiff, its optimizer), once with the gradients written out by hand on tensors, which
//! saves it the graph. Mini-batches lie on the device, ready to use: burn is spared picking examples.

use std::time::Instant;

use burn::nn::{Linear, LinearConfig};
use burn::optim::{GradientsParams, SgdConfig};
use burn::prelude::*;
use burn::tensor::{DeviceKind, Distribution, activation::sigmoid};

const ETA: f64 = 0.5;
const MINI_BATCHES: usize = 32;
const TURNS: usize = 7;

#[derive(Module, Debug)]
struct Network {
    layers: Vec<Linear>,
}

impl Network {
    fn feedforward(&self, input: Tensor<2>) -> Tensor<2> {
        self.layers.iter().fold(input, |a, layer| sigmoid(layer.forward(a)))
    }
}

/// Runs steps for about so many seconds, after a warm-up in which burn compiles and tunes.
fn measure(name: &str, seconds: f64, device: &Device, mut step: impl FnMut(usize)) {
    let sync = || device.sync().expect("the device finishes");
    let mut done = 0;
    let mut steps = |count: usize| {
        let start = Instant::now();
        for _ in 0..count {
            step(done);
            done += 1;
        }
        sync();
        start.elapsed().as_secs_f64()
    };
    let warm = Instant::now();
    while warm.elapsed().as_secs_f64() < seconds {
        steps(3);
    }
    let count = (seconds / TURNS as f64 / (steps(3) / 3.0)).ceil().max(1.0) as usize;
    let mut rates: Vec<f64> = (0..TURNS).map(|_| count as f64 / steps(count)).collect();
    rates.sort_by(f64::total_cmp);
    println!("{name}: {:.2} steps/s ({:.2} to {:.2})", rates[TURNS / 2], rates[0], rates[TURNS - 1]);
}

fn mini_batches(layers: &[usize], m: usize, device: &Device) -> Vec<(Tensor<2>, Tensor<2>)> {
    let random = |width| Tensor::random([m, width], Distribution::Uniform(0.0, 1.0), device);
    (0..MINI_BATCHES).map(|_| (random(layers[0]), random(layers[layers.len() - 1]))).collect()
}

fn by_autodiff(layers: &[usize], m: usize, seconds: f64, plain: &Device) {
    let device = plain.clone().autodiff();
    let examples = mini_batches(layers, m, &device);
    let layer = |pair: &[usize]| LinearConfig::new(pair[0], pair[1]).init(&device);
    let mut network = Some(Network { layers: layers.windows(2).map(layer).collect() });
    let mut optimizer = SgdConfig::new().init();
    measure("modules and autodiff", seconds, plain, |i| {
        let (x, y) = examples[i % MINI_BATCHES].clone();
        let current = network.take().expect("put back by the step before");
        let difference = current.feedforward(x) - y;
        let cost = (difference.clone() * difference).sum() / (2.0 * m as f64);
        let gradients = GradientsParams::from_grads(cost.backward(), &current);
        network = Some(optimizer.step(ETA, current, gradients));
    });
}

fn by_hand(layers: &[usize], m: usize, seconds: f64, device: &Device) {
    let examples = mini_batches(layers, m, device);
    let weights = |pair: &[usize]| Tensor::random([pair[0], pair[1]], Distribution::Normal(0.0, 0.03), device);
    let mut w: Vec<Tensor<2>> = layers.windows(2).map(weights).collect();
    let mut b: Vec<Tensor<2>> = layers[1..].iter().map(|&n| Tensor::zeros([1, n], device)).collect();
    let rate = ETA / m as f64;
    measure("gradients by hand", seconds, device, |i| {
        let (x, y) = examples[i % MINI_BATCHES].clone();
        let sigma_prime = |a: &Tensor<2>| a.clone() * (a.ones_like() - a.clone());
        let mut a = vec![x];
        for l in 0..w.len() {
            a.push(sigmoid(a[l].clone().matmul(w[l].clone()) + b[l].clone()));
        }
        let output = &a[w.len()];
        let mut delta = (output.clone() - y) * sigma_prime(output);
        for l in (0..w.len()).rev() {
            let nabla_w = a[l].clone().transpose().matmul(delta.clone());
            let nabla_b = delta.clone().sum_dim(0);
            if l > 0 {
                delta = delta.matmul(w[l].clone().transpose()) * sigma_prime(&a[l]);
            }
            w[l] = w[l].clone() - nabla_w * rate;
            b[l] = b[l].clone() - nabla_b * rate;
        }
    });
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [layers, m, seconds] = &arguments[..] else { panic!("usage: burn-peer LAYERS BATCH SECONDS") };
    let layers: Vec<usize> = layers.split(',').map(|width| width.parse().expect("a width")).collect();
    let (m, seconds) = (m.parse().expect("a batch"), seconds.parse().expect("seconds"));
    let device = Device::wgpu(DeviceKind::DefaultDevice);
    by_autodiff(&layers, m, seconds, &device);
    by_hand(&layers, m, seconds, &device);
}
