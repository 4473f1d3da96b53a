
// x yᵀ: x (rows, inner), y (cols, inner)
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> y: array<f32>;

fn x_at(row: u32, i: u32) -> f32 {
    return x[row * params.inner + i];
}

fn y_at(i: u32, col: u32) -> f32 {
    return y[col * params.inner + i];
}
