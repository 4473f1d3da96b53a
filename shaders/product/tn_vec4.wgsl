
// xᵀ [y 1]: x (inner, rows), y (inner, cols - 1) followed by a column of ones; rows and cols - 1
// multiples of 4; blocks as in blocks.wgsl
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> y: array<vec4<f32>>;

fn x_col(row: u32, i: u32) -> vec4<f32> {
    let values = x[(min(i, params.inner - 1u) * params.rows + min(row, params.rows - 4u)) / 4u];
    return select(vec4(0.0), x_factors(values), i < params.inner);
}

fn x_block(row: u32, i: u32) -> mat4x4<f32> {
    return transpose(mat4x4(x_col(row, i), x_col(row, i + 1u), x_col(row, i + 2u), x_col(row, i + 3u)));
}

fn y_row(i: u32, col: u32) -> vec4<f32> {
    let last = params.cols - 1u;
    let values = y[(min(i, params.inner - 1u) * last + min(col, last - 4u)) / 4u];
    return select(vec4(1.0), y_factors(values), col < last);
}

fn y_block(i: u32, col: u32) -> mat4x4<f32> {
    return mat4x4(y_row(i, col), y_row(i + 1u, col), y_row(i + 2u, col), y_row(i + 3u, col));
}
