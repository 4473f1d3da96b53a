
// Blocks of 4 x 4, of any extents. Rows and columns past the edge repeat the last one (their sums
// are not stored); terms past the end of the sum are 0.
fn x_row(row: u32, i: u32) -> vec4<f32> {
    let r = min(row, params.rows - 1u);
    let last = params.inner - 1u;
    let values = vec4(x_at(r, i), x_at(r, min(i + 1u, last)), x_at(r, min(i + 2u, last)), x_at(r, min(i + 3u, last)));
    return select(vec4(0.0), values, vec4(i) + vec4(0u, 1u, 2u, 3u) <= vec4(last));
}

// x_block(row, i)[r][k] is x at row + r, i + k
fn x_block(row: u32, i: u32) -> mat4x4<f32> {
    return mat4x4(x_row(row, i), x_row(row + 1u, i), x_row(row + 2u, i), x_row(row + 3u, i));
}

fn y_row(i: u32, col: u32) -> vec4<f32> {
    let k = min(i, params.inner - 1u);
    let last = params.cols - 1u;
    return vec4(
        y_at(k, min(col, last)),
        y_at(k, min(col + 1u, last)),
        y_at(k, min(col + 2u, last)),
        y_at(k, min(col + 3u, last)),
    );
}

// y_block(i, col)[k][c] is y at i + k, col + c
fn y_block(i: u32, col: u32) -> mat4x4<f32> {
    return mat4x4(y_row(i, col), y_row(i + 1u, col), y_row(i + 2u, col), y_row(i + 3u, col));
}
