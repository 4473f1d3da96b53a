// Mini-batches of gradient descent, each as a whole in one work group: feedforward, BP1 to BP4 and
// the step of the optimizer, between barriers. For networks of the book's size.
//
// Everything is computed in blocks of 4 x 4: rows of activations, errors and weights are padded to
// whole vec4s, and to whole blocks of rows. Padding of weights is 0 at first, and that of activations
// and errors is 0, so it stays 0 until something is NaN or infinite. In WGSL a block of y times a block of x, y * x, is a block of x y: Σ_k of
// columns.
//
// Layers are counted from 0 here, as arrays are: layer 0 is the input. Generated constants:
//   LAYERS, EXAMPLES (m), EXAMPLES_4 (blocks of 4 examples), BLOCKS (of them computed at once)
//   N (neurons), N_4 (vec4s in a row), ROWS_AT, WEIGHTS_AT, BIASES_AT (offsets in vec4s), per layer
//   INPUTS_16 (blocks of 16 inputs), INPUT_SCALE, ROWS (vec4s of all activations, or of all errors)
//   PART_ROWS (rows of a block of sums exchanged at once, 4 or 1), PARTS (PART_ROWS per invocation)
// These texts follow:
//   input_*.wgsl: inputs_16(example, k) stands for inputs 16k to 16k + 15 of an example of the data
//     set; inputs_4 of that and c are inputs 16k + 4c to 16k + 4c + 3, unscaled, 0 past the last
//   desired_*.wgsl: desired_4(example, j) are desired outputs 4j to 4j + 3
//   weight_*.wgsl: weight_of(example) is the weight of its cost
//   parameters_in_*.wgsl: parameters begin at home(); in_storage(at) is their place in storage
//   activations_in_*.wgsl, and first_weights_*.wgsl with the work of the first layer of neurons
//   snippets: sigma (hidden layers), output_sigma, error_of_output, step_entry (optimizer)
//
// In the uniform mini_batch, `first` and `count` select mini-batches of the schedule. A work group
// trains a network of its own: the lists of the networks are `slot` mini-batches apart.
//
// The output layer NORMALIZES its weighted inputs (softmax) or not. Weights decay if DECAYS. With
// dropout (DROPS), activations are stored after it; times KEPT = 1 − p, they are those before it.
//
// The optimizer has STATES numbers per parameter, PACKED vec4s apart in storage. Unless it is
// LINEAR, the first layer's gradient is accumulated over the GROUPS of BLOCKS of a mini-batch.

override WORKGROUP_SIZE: u32;

struct Params {
    parameters: u32,
}

// Four parameters, and the state of the optimizer beside them.
struct Entries {
    parameters: vec4<f32>,
    first: vec4<f32>,
    second: vec4<f32>,
}

// A mini-batch and the rates of its step, the same for every invocation.
struct Step {
    numbers: MiniBatch,
    rates: vec2<f32>, // η/m, 1/m
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> order: array<u32>;
@group(0) @binding(5) var<storage, read> schedule: array<MiniBatch>;
@group(0) @binding(6) var<storage, read_write> parameters: array<vec4<f32>>; // of every network, one after the other

// Index of the first vec4 of the network in storage.
var<private> network: u32;
var<workgroup> parts: array<vec4<f32>, PARTS>;

// BLOCKS, but unknown to the compiler, which would unroll a loop: no example has this number. (A
// number in a uniform does not help: llvmpipe specializes shaders for it, at each dispatch.)
fn blocks_at_once(first: u32) -> u32 {
    return BLOCKS + u32(order[first] == 0xffffffffu);
}

// The numbers of the examples in rows 4r to 4r + 3; those past the end repeat the last one.
fn examples_4(first: u32, r: u32) -> vec4<u32> {
    let rows = min(vec4(4u * r) + vec4(0u, 1u, 2u, 3u), vec4(EXAMPLES - 1u));
    return vec4(order[first + rows.x], order[first + rows.y], order[first + rows.z], order[first + rows.w]);
}

// Inputs 16k to 16k + 15 of four examples, and inputs 16k + 4c to 16k + 4c + 3 of them: [r] is a row.
// (An array of four u32, made in one expression here and among the constants, is written twice for DX12 by naga 30.)
fn inputs_of(examples: vec4<u32>, k: u32) -> array<Inputs, 4> {
    var x: array<Inputs, 4>;
    x[0] = inputs_16(examples.x, k);
    x[1] = inputs_16(examples.y, k);
    x[2] = inputs_16(examples.z, k);
    x[3] = inputs_16(examples.w, k);
    return x;
}

fn input_block(x: array<Inputs, 4>, k: u32, c: u32) -> mat4x4<f32> {
    return mat4x4(inputs_4(x[0], k, c), inputs_4(x[1], k, c), inputs_4(x[2], k, c), inputs_4(x[3], k, c));
}

// Activations 4k to 4k + 3 of a layer of neurons, for four examples: [r] is a row.
fn activation_block(layer: u32, r: u32, k: u32) -> mat4x4<f32> {
    let at = ROWS_AT[layer] + 4u * r * N_4[layer] + k;
    let stride = N_4[layer];
    return mat4x4(
        activation_4(at), activation_4(at + stride), activation_4(at + 2u * stride), activation_4(at + 3u * stride)
    );
}

// Errors 4k to 4k + 3 of a layer, for four examples: [r] is a row.
fn error_block(layer: u32, r: u32, k: u32) -> mat4x4<f32> {
    let at = ROWS_AT[layer] + 4u * r * N_4[layer] + k;
    let stride = N_4[layer];
    return mat4x4(
        error_4(at), error_4(at + stride), error_4(at + 2u * stride), error_4(at + 3u * stride)
    );
}

// The place of the weights from neurons 4k to 4k + 3 of the layer before to neurons 4j to 4j + 3 of
// a layer, and the block of them: [j] is a row.
fn weights_at(layer: u32, j: u32, k: u32) -> u32 {
    return home() + WEIGHTS_AT[layer] + 4u * j * N_4[layer - 1u] + k;
}

fn weight_block(at: u32, stride: u32) -> mat4x4<f32> {
    return mat4x4(
        parameter_4(at), parameter_4(at + stride), parameter_4(at + 2u * stride), parameter_4(at + 3u * stride)
    );
}

// The optimizer's step for four parameters and their state.
fn stepped(before: Entries, gradient: vec4<f32>, step: Step) -> Entries {
    let w = before.parameters;
    let first = before.first;
    let second = before.second;
    let c = step.numbers.coefficients;
    let e0 = step_entry(vec4(w.x, first.x, second.x, 0.0), gradient.x, step.rates, c);
    let e1 = step_entry(vec4(w.y, first.y, second.y, 0.0), gradient.y, step.rates, c);
    let e2 = step_entry(vec4(w.z, first.z, second.z, 0.0), gradient.z, step.rates, c);
    let e3 = step_entry(vec4(w.w, first.w, second.w, 0.0), gradient.w, step.rates, c);
    return Entries(vec4(e0.x, e1.x, e2.x, e3.x), vec4(e0.y, e1.y, e2.y, e3.y), vec4(e0.z, e1.z, e2.z, e3.z));
}

// Four weights, decayed.
fn decayed(w: vec4<f32>, decays: bool, step: Step) -> vec4<f32> {
    if !decays {
        return w;
    }
    return step.numbers.keep * w - step.numbers.l1 * sign(w);
}

// State in storage of the four parameters at a place.
fn with_state(at: u32, w: vec4<f32>) -> Entries {
    var entries = Entries(w, vec4<f32>(), vec4<f32>());
    if STATES > 0u { entries.first = parameters[in_storage(at) + PACKED]; }
    if STATES > 1u { entries.second = parameters[in_storage(at) + 2u * PACKED]; }
    return entries;
}

fn keep_state(at: u32, entries: Entries) {
    if STATES > 0u { parameters[in_storage(at) + PACKED] = entries.first; }
    if STATES > 1u { parameters[in_storage(at) + 2u * PACKED] = entries.second; }
}

// The step for the four parameters at a place.
fn update_4(at: u32, decays: bool, gradient: vec4<f32>, step: Step) {
    let w = decayed(parameter_4(at), decays, step);
    let entries = stepped(with_state(at, w), gradient, step);
    set_parameter_4(at, entries.parameters);
    keep_state(at, entries);
}

fn update_block(at: u32, stride: u32, gradient: mat4x4<f32>, decays: bool, step: Step) {
    update_4(at, decays, gradient[0], step);
    update_4(at + stride, decays, gradient[1], step);
    update_4(at + 2u * stride, decays, gradient[2], step);
    update_4(at + 3u * stride, decays, gradient[3], step);
}

fn sigma_4(z: vec4<f32>) -> vec4<f32> {
    return vec4(sigma(z.x), sigma(z.y), sigma(z.z), sigma(z.w));
}

fn sigma_prime_4(a: vec4<f32>) -> vec4<f32> {
    return vec4(sigma_prime(a.x), sigma_prime(a.y), sigma_prime(a.z), sigma_prime(a.w));
}

fn output_sigma_4(z: vec4<f32>) -> vec4<f32> {
    return vec4(output_sigma(z.x), output_sigma(z.y), output_sigma(z.z), output_sigma(z.w));
}

fn error_of_output_1(a: f32, y: f32) -> f32 {
    return error_of_output(a, y, output_sigma_prime(a));
}

// Errors of outputs 4j to 4j + 3 of an example (BP1).
fn error_of_output_4(a: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
    return vec4(
        error_of_output_1(a.x, y.x), error_of_output_1(a.y, y.y), error_of_output_1(a.z, y.z), error_of_output_1(a.w, y.w)
    );
}

// The factors of dropout for neurons 4j to 4j + 3 of a layer and row; dropout counts layers from 1.
fn dropout_4(layer: u32, row: u32, j: u32, numbers: MiniBatch) -> vec4<f32> {
    let first = row * N[layer] + 4u * j;
    var factors = vec4<f32>();
    for (var i = 0u; i < 4u; i++) {
        factors[i] = dropout_factor(
            first + i, layer + 1u, numbers.step, numbers.seed, DROPOUT_THRESHOLD, DROPOUT_FACTOR
        );
    }
    return factors;
}

// Outputs 4j to 4j + 3 of the example of a row, and their errors (BP1).
fn finish_outputs(layer: u32, first: u32, row: u32, j: u32, z: vec4<f32>) {
    let there = vec4(4u * j) + vec4(0u, 1u, 2u, 3u) < vec4(N[layer]);
    let at = ROWS_AT[layer] + row * N_4[layer] + j;
    let a = select(vec4(0.0), output_sigma_4(z), there);
    set_activation_4(at, a);
    let example = order[first + min(row, EXAMPLES - 1u)];
    let delta = weight_of(example) * error_of_output_4(a, desired_4(example, j));
    set_error_4(at, select(vec4(0.0), delta, there & vec4(row < EXAMPLES)));
}

// One row of a layer's activations from its weighted inputs, and for the output layer its error.
// Weighted inputs to be normalized are kept in the place of errors until their row is complete.
fn finish_forward(layer: u32, numbers: MiniBatch, row: u32, j: u32, z: vec4<f32>) {
    let at = ROWS_AT[layer] + row * N_4[layer] + j;
    if layer < LAYERS - 1u {
        let there = vec4(4u * j) + vec4(0u, 1u, 2u, 3u) < vec4(N[layer]);
        var a = sigma_4(z);
        if DROPS { a *= dropout_4(layer, row, j, numbers); }
        set_activation_4(at, select(vec4(0.0), a, there));
    } else if NORMALIZES {
        set_error_4(at, z);
    } else {
        finish_outputs(layer, numbers.first, row, j, z);
    }
}

// A weighted input of the output layer, kept in the place of errors.
fn waiting(at: u32, k: u32) -> f32 {
    return error_4(at + k / 4u)[k % 4u];
}

// Softmax: outputs from weighted inputs minus ln Σ exp of their row.
fn finish_normalized(first: u32, lane: u32) {
    let layer = LAYERS - 1u;
    let blocks = 4u * EXAMPLES_4 * N_4[layer];
    for (var block = lane; block < blocks; block += WORKGROUP_SIZE) {
        let at = ROWS_AT[layer] + block / N_4[layer] * N_4[layer];
        var largest = waiting(at, 0u);
        for (var k = 1u; k < N[layer]; k++) {
            largest = max(largest, waiting(at, k));
        }
        var sum = 0.0;
        for (var k = 0u; k < N[layer]; k++) {
            sum += exp(waiting(at, k) - largest);
        }
        let z = error_4(ROWS_AT[layer] + block);
        set_activation_4(ROWS_AT[layer] + block, z - vec4(largest + log(sum)));
    }
    barrier();
    for (var block = lane; block < blocks; block += WORKGROUP_SIZE) {
        let row = block / N_4[layer];
        let j = block % N_4[layer];
        finish_outputs(layer, first, row, j, activation_4(ROWS_AT[layer] + block));
    }
    barrier();
}

// Number of invocations that share the sums of a block: WORKGROUP_SIZE / blocks, but at least 1 and
// at most one per term.
fn shares_of(blocks: u32, terms: u32) -> u32 {
    return clamp(WORKGROUP_SIZE / blocks, 1u, terms);
}

// Adds up the partial sums of PART_ROWS rows in parts, and applies finish_forward to the rows.
fn finish_rows(layer: u32, numbers: MiniBatch, first_row: u32, j: u32, there: bool, lane: u32, share: u32, shares: u32) {
    barrier();
    if there {
        for (var row = share; row < PART_ROWS; row += shares) {
            var z = parameter_4(home() + BIASES_AT[layer] + j);
            for (var other = 0u; other < shares; other++) {
                z += parts[PART_ROWS * (lane - share + other) + row];
            }
            finish_forward(layer, numbers, first_row + row, j, z);
        }
    }
    barrier();
}

fn finish_row(layer: u32, numbers: MiniBatch, row: u32, j: u32, there: bool, lane: u32, share: u32, shares: u32, sum: vec4<f32>) {
    parts[lane] = sum;
    finish_rows(layer, numbers, row, j, there, lane, share, shares);
}

// Adds up the partial sums of a block of weighted inputs, and applies finish_forward to its rows.
fn finish_block(layer: u32, numbers: MiniBatch, r: u32, j: u32, there: bool, lane: u32, share: u32, shares: u32, sum: mat4x4<f32>) {
    if PART_ROWS == 4u {
        parts[PART_ROWS * lane] = sum[0];
        parts[PART_ROWS * lane + 1u] = sum[1];
        parts[PART_ROWS * lane + 2u] = sum[2];
        parts[PART_ROWS * lane + 3u] = sum[3];
        finish_rows(layer, numbers, 4u * r, j, there, lane, share, shares);
    } else {
        finish_row(layer, numbers, 4u * r, j, there, lane, share, shares, sum[0]);
        finish_row(layer, numbers, 4u * r + 1u, j, there, lane, share, shares, sum[1]);
        finish_row(layer, numbers, 4u * r + 2u, j, there, lane, share, shares, sum[2]);
        finish_row(layer, numbers, 4u * r + 3u, j, there, lane, share, shares, sum[3]);
    }
}

// a = σ(x wᵀ + b) of a later layer.
fn feedforward(layer: u32, numbers: MiniBatch, lane: u32) {
    let blocks = EXAMPLES_4 * N_4[layer];
    let shares = shares_of(blocks, N_4[layer - 1u]);
    for (var base = 0u; base < blocks * shares; base += WORKGROUP_SIZE) {
        let block = (base + lane) / shares;
        let share = (base + lane) % shares;
        let there = block < blocks;
        let r = block / N_4[layer];
        let j = block % N_4[layer];
        var sum = mat4x4<f32>();
        for (var k = select(N_4[layer - 1u], share, there); k < N_4[layer - 1u]; k += shares) {
            sum += transpose(weight_block(weights_at(layer, j, k), N_4[layer - 1u])) * activation_block(layer - 1u, r, k);
        }
        finish_block(layer, numbers, r, j, there, lane, share, shares, sum);
    }
}

// The errors of neurons 4j to 4j + 3 in a row: ∂C/∂a ⊙ σ′, without the neurons that dropout leaves out.
fn backpropagate_4(layer: u32, row: u32, j: u32, nabla_a: vec4<f32>, at: u32, numbers: MiniBatch) {
    let a = activation_4(at);
    if DROPS {
        set_error_4(at, nabla_a * sigma_prime_4(KEPT * a) * dropout_4(layer, row, j, numbers));
    } else {
        set_error_4(at, nabla_a * sigma_prime_4(a));
    }
}

// BP2: δ = (δ of the next layer · w) ⊙ σ′(a)
fn backpropagate(layer: u32, numbers: MiniBatch, lane: u32) {
    let blocks = EXAMPLES_4 * N_4[layer];
    for (var block = lane; block < blocks; block += WORKGROUP_SIZE) {
        let r = block / N_4[layer];
        let j = block % N_4[layer];
        var sum = mat4x4<f32>();
        for (var k = 0u; k < N_4[layer + 1u]; k++) {
            sum += weight_block(weights_at(layer + 1u, k, j), N_4[layer]) * error_block(layer + 1u, r, k);
        }
        let at = ROWS_AT[layer] + 4u * r * N_4[layer] + j;
        let stride = N_4[layer];
        // Weights of padding neurons and output errors of padding rows are 0: so are their errors.
        backpropagate_4(layer, 4u * r, j, sum[0], at, numbers);
        backpropagate_4(layer, 4u * r + 1u, j, sum[1], at + stride, numbers);
        backpropagate_4(layer, 4u * r + 2u, j, sum[2], at + 2u * stride, numbers);
        backpropagate_4(layer, 4u * r + 3u, j, sum[3], at + 3u * stride, numbers);
    }
    barrier();
}

// BP4 and the step for a later layer: ∇w = Σ δ aᵀ. An invocation keeps its neurons while it goes
// through those of the layer before.
fn descend(layer: u32, step: Step, lane: u32) {
    let across = N_4[layer - 1u];
    let width = min(WORKGROUP_SIZE, across);
    let groups = WORKGROUP_SIZE / width;
    let group = lane / width;
    for (var j = group; group < groups && j < N_4[layer]; j += groups) {
        for (var k = lane % width; k < across; k += width) {
            var sum = mat4x4<f32>();
            for (var r = 0u; r < EXAMPLES_4; r++) {
                sum += activation_block(layer - 1u, r, k) * transpose(error_block(layer, r, j));
            }
            update_block(weights_at(layer, j, k), N_4[layer - 1u], sum, DECAYS, step);
        }
    }
}

// BP3 and the step for biases: ∇b = Σ δ
fn descend_biases(layer: u32, step: Step, lane: u32) {
    for (var j = lane; j < N_4[layer]; j += WORKGROUP_SIZE) {
        var sum = vec4<f32>();
        for (var row = 0u; row < EXAMPLES; row++) {
            sum += error_4(ROWS_AT[layer] + row * N_4[layer] + j);
        }
        update_4(home() + BIASES_AT[layer] + j, false, sum, step);
    }
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn train_in_workgroup(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    network = group.x * params.parameters;
    fetch_parameters(lane);
    fetch_first_weights(lane);
    for (var i = 0u; i < mini_batch.count; i++) {
        let numbers = schedule[group.x * mini_batch.slot + mini_batch.first + i];
        let step = Step(numbers, vec2(numbers.eta, 1.0) / f32(EXAMPLES));
        feedforward_inputs(numbers, lane);
        for (var layer = 2u; layer < LAYERS; layer++) {
            feedforward(layer, numbers, lane);
        }
        if NORMALIZES {
            finish_normalized(numbers.first, lane);
        }
        for (var layer = LAYERS - 2u; layer > 0u; layer--) {
            backpropagate(layer, numbers, lane);
        }
        descend_inputs(step, lane);
        for (var layer = 2u; layer < LAYERS; layer++) {
            descend(layer, step, lane);
        }
        for (var layer = 1u; layer < LAYERS; layer++) {
            descend_biases(layer, step, lane);
        }
        // The next mini-batch reads what every invocation has written.
        storageBarrier();
        workgroupBarrier();
    }
    return_parameters(lane);
    return_first_weights(lane);
}
