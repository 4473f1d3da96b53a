
// A work group computes a tile of 4 SIZE x 4 SIZE entries as four blocks of 2 x 2 cooperative
// matrices, one block per subgroup; fewer subgroups take several passes. Factors go through shared
// memory, TERMS terms at a time, with edges masked; so do sums on their way to finish, half a block
// at a time.
override WORKGROUP_ROWS: u32; // 1
override WORKGROUP_COLS: u32; // 128: full subgroups of any size

const TILE = 4u * SIZE;
const TERMS = 256u / SIZE; // one block of 4 x 4 per invocation: 64 of each factor
const BLOCK = 2u * SIZE;

var<workgroup> xs: array<Factor, TILE * TERMS>; // row by row
var<workgroup> ys: array<Factor, TILE * TERMS>; // term by term
var<workgroup> sums: array<f32, TILE * BLOCK>; // half of each block, row by row

fn put_x(at: u32, values: vec4<f32>) {
    for (var k = 0u; k < 4u; k++) { xs[at + k] = Factor(values[k]); }
}

fn put_y(at: u32, values: vec4<f32>) {
    for (var c = 0u; c < 4u; c++) { ys[at + c] = Factor(values[c]); }
}

@compute @workgroup_size(WORKGROUP_COLS, WORKGROUP_ROWS)
fn product(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
) {
    let tile_row = TILE * (params.first_group + group.y + group.z * groups.y);
    let tile_col = TILE * group.x;
    // Half of the invocations load a block of 4 x 4 of x, the other half one of y.
    let of_x = lane < 64u;
    let block = 4u * (lane % SIZE);
    let term = 4u * (lane % 64u / SIZE);
    for (var pass_begins = 0u; pass_begins < 4u; pass_begins += subgroups) {
        let mine = pass_begins + subgroup;
        let x_begins = mine / 2u * BLOCK * TERMS;
        let y_begins = mine % 2u * BLOCK;
        for (var entry = lane; entry < SIZE * SIZE; entry += WORKGROUP_COLS) {
            sums[entry] = 0.0;
        }
        workgroupBarrier();
        var sum00 = coopLoadT<Sum>(&sums[0], SIZE);
        var sum01 = sum00;
        var sum10 = sum00;
        var sum11 = sum00;
        for (var i = 0u; i < params.inner; i += TERMS) {
            var loaded = mat4x4<f32>();
            if i + term < params.inner {
                if of_x {
                    loaded = x_block(tile_row + block, i + term);
                } else {
                    loaded = y_block(i + term, tile_col + block);
                }
            }
            for (var line = 0u; line < 4u; line++) {
                if of_x {
                    put_x((block + line) * TERMS + term, loaded[line]);
                } else {
                    put_y((term + line) * TILE + block, loaded[line]);
                }
            }
            workgroupBarrier();
            // A loop instead of an `if`: control flow is uniform in a subgroup; idle ones skip it.
            for (var k = select(TERMS, 0u, mine < 4u); k < TERMS; k += SIZE) {
                let x0 = coopLoadT<Left>(&xs[x_begins + k], TERMS);
                let x1 = coopLoadT<Left>(&xs[x_begins + SIZE * TERMS + k], TERMS);
                let y0 = coopLoadT<Right>(&ys[k * TILE + y_begins], TILE);
                let y1 = coopLoadT<Right>(&ys[k * TILE + y_begins + SIZE], TILE);
                sum00 = coopMultiplyAdd(x0, y0, sum00);
                sum01 = coopMultiplyAdd(x0, y1, sum01);
                sum10 = coopMultiplyAdd(x1, y0, sum10);
                sum11 = coopMultiplyAdd(x1, y1, sum11);
            }
            workgroupBarrier();
        }
        for (var half = 0u; half < 2u; half++) {
            if mine < 4u {
                let at = mine * BLOCK * SIZE;
                if half == 0u {
                    coopStoreT(sum00, &sums[at], BLOCK);
                    coopStoreT(sum01, &sums[at + SIZE], BLOCK);
                } else {
                    coopStoreT(sum10, &sums[at], BLOCK);
                    coopStoreT(sum11, &sums[at + SIZE], BLOCK);
                }
            }
            workgroupBarrier();
            let blocks = min(subgroups, 4u - pass_begins);
            for (var entry = 4u * lane; entry < blocks * BLOCK * SIZE; entry += 4u * WORKGROUP_COLS) {
                let at = pass_begins * BLOCK * SIZE + entry;
                let whose = at / (BLOCK * SIZE);
                let row = tile_row + whose / 2u * BLOCK + half * SIZE + at / BLOCK % SIZE;
                let col = tile_col + whose % 2u * BLOCK + at % BLOCK;
                if row < params.rows && col < params.cols {
                    let entries = vec4(sums[at], sums[at + 1u], sums[at + 2u], sums[at + 3u]);
                    finish(row, col, sums_of_factors(entries));
                }
            }
            workgroupBarrier();
        }
    }
}
