
// Passes the rows of a block of sums to finish, except those past the edge.
fn store(row: u32, col: u32, sum: mat4x4<f32>) {
    if col < params.cols {
        if row < params.rows { finish(row, col, sums_of_factors(sum[0])); }
        if row + 1u < params.rows { finish(row + 1u, col, sums_of_factors(sum[1])); }
        if row + 2u < params.rows { finish(row + 2u, col, sums_of_factors(sum[2])); }
        if row + 3u < params.rows { finish(row + 3u, col, sums_of_factors(sum[3])); }
    }
}
