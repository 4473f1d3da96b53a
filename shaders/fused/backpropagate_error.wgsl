// delta = (x w) ⊙ σ′(z): BP2. x is the error of the next layer, w its weights (the right factor y
// of the product), and σ′ is computed from the activation a

struct Params {
    rows: u32,
    cols: u32,
    inner: u32,
    first_group: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read> a: array<f32>;               // (rows, cols)
@group(0) @binding(4) var<storage, read_write> delta: array<f32>;     // (rows, cols)

fn finish(row: u32, col: u32, sum: vec4<f32>) {
    for (var c = 0u; c < min(4u, params.cols - col); c++) {
        let at = row * params.cols + col + c;
        delta[at] = sum[c] * sigma_prime(a[at]);
    }
}
