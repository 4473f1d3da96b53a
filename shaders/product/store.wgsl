
// Hands four sums of a row to finish, but for those past the edge.
fn store_row(row: u32, col: u32, sums: vec4<f32>) {
    if row < params.rows && col < params.cols {
        finish(row, col, sums_of_factors(sums));
    }
}

// The same of the rows of a block.
fn store(row: u32, col: u32, sums: mat4x4<f32>) {
    store_row(row, col, sums[0]);
    store_row(row + 1u, col, sums[1]);
    store_row(row + 2u, col, sums[2]);
    store_row(row + 3u, col, sums[3]);
}
