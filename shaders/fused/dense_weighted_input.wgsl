// z = x wᵀ + b: the weighted inputs of a layer, w being the right factor y of the product

struct Params {
    rows: u32,
    cols: u32,
    inner: u32,
    first_group: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read> b: array<f32>;               // (cols)
@group(0) @binding(4) var<storage, read_write> z: array<f32>;         // (rows, cols)

fn finish(row: u32, col: u32, sum: vec4<f32>) {
    for (var c = 0u; c < min(4u, params.cols - col); c++) {
        z[row * params.cols + col + c] = sum[c] + b[col + c];
    }
}
