// z = op(x) op(y), where op transposes or not. The strides say which:
//   NN  z = x y    x (rows, inner)  y (inner, cols)
//   NT  z = x yᵀ   x (rows, inner)  y (cols, inner)
//   TN  z = xᵀ y   x (inner, rows)  y (inner, cols)

override WORKGROUP_ROWS: u32;
override WORKGROUP_COLS: u32;

struct Params {
    rows: u32,
    cols: u32,
    inner: u32,
    x_row_stride: u32,
    x_inner_stride: u32,
    y_inner_stride: u32,
    y_col_stride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> y: array<f32>;
@group(0) @binding(3) var<storage, read_write> z: array<f32>; // (rows, cols)

@compute @workgroup_size(WORKGROUP_COLS, WORKGROUP_ROWS)
fn matmul(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let row = id.y + id.z * groups.y * WORKGROUP_ROWS;
    let col = id.x;
    if row >= params.rows || col >= params.cols {
        return;
    }
    var sum = 0.0;
    for (var i = 0u; i < params.inner; i++) {
        sum += x[row * params.x_row_stride + i * params.x_inner_stride]
             * y[i * params.y_inner_stride + col * params.y_col_stride];
    }
    z[row * params.cols + col] = sum;
}
