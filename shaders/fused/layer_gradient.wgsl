// nabla_w = xᵀ y and nabla_b = Σ x: BP4 and BP3 of a layer. x is its error, y the activations of
// the layer before. The last column of the product is nabla_b: BP3 is BP4 for an activation of 1.

struct Params {
    rows: u32,
    cols: u32,
    inner: u32,
    first_group: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read_write> nabla_w: array<f32>;         // (rows, cols - 1)
@group(0) @binding(4) var<storage, read_write> nabla_b: array<f32>;         // (rows)

fn finish(row: u32, col: u32, sum: vec4<f32>) {
    let weights = params.cols - 1u;
    for (var c = 0u; c < min(4u, params.cols - col); c++) {
        if col + c < weights {
            nabla_w[row * weights + col + c] = sum[c];
        } else {
            nabla_b[row] = sum[c];
        }
    }
}
