
// x y: x (rows, inner), y (inner, cols), inner and cols multiples of 4; blocks as in blocks.wgsl
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> y: array<vec4<f32>>;

fn x_row(row: u32, i: u32) -> vec4<f32> {
    return x_factors(x[(min(row, params.rows - 1u) * params.inner + i) / 4u]);
}

fn x_block(row: u32, i: u32) -> mat4x4<f32> {
    return mat4x4(x_row(row, i), x_row(row + 1u, i), x_row(row + 2u, i), x_row(row + 3u, i));
}

fn y_row(i: u32, col: u32) -> vec4<f32> {
    return y_factors(y[(i * params.cols + min(col, params.cols - 4u)) / 4u]);
}

fn y_block(i: u32, col: u32) -> mat4x4<f32> {
    return mat4x4(y_row(i, col), y_row(i + 1u, col), y_row(i + 2u, col), y_row(i + 3u, col));
}
