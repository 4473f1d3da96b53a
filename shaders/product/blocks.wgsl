
// Blocks of 4 x 4 for any extents. Rows and columns past the edge repeat the last one (their sums
// are not stored); terms past the end of a sum are 0. Loops, because some drivers take minutes to
// compile so many single loads; of constant length, because other drivers unroll them.

// x_block(row, i)[r][k] is x at row + r, i + k
fn x_block(row: u32, i: u32) -> mat4x4<f32> {
    var block = mat4x4<f32>();
    for (var r = 0u; r < 4u; r++) {
        for (var k = 0u; k < 4u; k++) {
            let value = x_at(min(row + r, params.rows - 1u), min(i + k, params.inner - 1u));
            block[r][k] = select(0.0, value, i + k < params.inner);
        }
        block[r] = x_factors(block[r]);
    }
    return block;
}

// y_block(i, col)[k][c] is y at i + k, col + c
fn y_block(i: u32, col: u32) -> mat4x4<f32> {
    var block = mat4x4<f32>();
    for (var k = 0u; k < 4u; k++) {
        for (var c = 0u; c < 4u; c++) {
            block[k][c] = y_at(min(i + k, params.inner - 1u), min(col + c, params.cols - 1u));
        }
        block[k] = y_factors(block[k]);
    }
    return block;
}
