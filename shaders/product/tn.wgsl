
// xᵀ [y 1]: x (inner, rows), y (inner, cols - 1) followed by a column of ones
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> y: array<f32>;

fn x_at(row: u32, i: u32) -> f32 {
    return x[i * params.rows + row];
}

fn y_at(i: u32, col: u32) -> f32 {
    let last = params.cols - 1u;
    if col == last {
        return 1.0;
    }
    return y[i * last + col];
}
