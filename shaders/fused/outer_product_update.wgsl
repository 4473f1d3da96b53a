// w -= (η/m) xᵀ y and b -= (η/m) Σ x: BP3, BP4 and descent of a layer, x being its error and y the
// activations of the layer before. The last column of the product is that of the biases: BP3 is
// BP4 for an activation that is always 1.

struct Params {
    rows: u32,
    cols: u32,
    inner: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read_write> w: array<f32>;         // (rows, cols - 1)
@group(0) @binding(4) var<storage, read_write> b: array<f32>;         // (rows)

struct MiniBatch {
    first: u32,
    slot: u32,
    eta: f32,
    count: u32,
}

@group(1) @binding(0) var<uniform> mini_batch: MiniBatch;

fn finish(row: u32, col: u32, sum: vec4<f32>) {
    let change = mini_batch.eta / f32(params.inner) * sum;
    let weights = params.cols - 1u;
    for (var c = 0u; c < min(4u, params.cols - col); c++) {
        if col + c < weights {
            w[row * weights + col + c] -= change[c];
        } else {
            b[row] -= change[c];
        }
    }
}
