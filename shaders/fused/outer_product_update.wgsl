// Updates w by xᵀ y and b by Σ x: BP3, BP4 and the step of the optimizer for a layer. x is its
// error, y the activations of the layer before. The last column of the product is the gradient of
// b: BP3 is BP4 for an activation that is always 1.

struct Params {
    rows: u32,
    cols: u32,
    inner: u32,
    first_group: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read_write> w: array<f32>;         // (rows, cols - 1)
@group(0) @binding(4) var<storage, read_write> b: array<f32>;         // (rows)

fn finish(row: u32, col: u32, sum: vec4<f32>) {
    let rates = vec2(mini_batch.eta, 1.0) / f32(params.inner);
    let weights = params.cols - 1u;
    for (var c = 0u; c < min(4u, params.cols - col); c++) {
        if col + c < weights {
            let at = row * weights + col + c;
            let entry = step_entry(vec4(decayed(w[at]), w_state(at)), sum[c], rates, mini_batch.coefficients);
            w[at] = entry.x;
            set_w_state(at, entry.yzw);
        } else {
            let entry = step_entry(vec4(b[row], b_state(row)), sum[c], rates, mini_batch.coefficients);
            b[row] = entry.x;
            set_b_state(row, entry.yzw);
        }
    }
}
