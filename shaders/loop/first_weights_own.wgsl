
// The weights of the first layer of neurons in private variables of the invocations, for all
// mini-batches of a dispatch. An invocation has 4 neurons and several units of 16 inputs; quarter c
// of a unit has 4 of them. own[16u + 4c + r] are the 4 weights of neuron 4j + r in unit u, quarter
// c. Then come accumulated gradients, if SUMS_GROUPS; optimizer state stays in storage.
//
// The generated functions *_units visit the units and quarters of an invocation, unrolled.

var<private> own: array<vec4<f32>, OWN_ALL>;
// For the blocks of examples at work: their numbers, inputs, weighted inputs and errors.
var<private> examples: array<vec4<u32>, BLOCKS>;
var<private> x: array<array<Inputs, 4>, BLOCKS>;
var<private> sums: array<mat4x4<f32>, BLOCKS>;
var<private> deltas: array<mat4x4<f32>, BLOCKS>;

// The neurons 4j to 4j + 3 of an invocation, and its share (of `shares`) of their inputs.
struct Owner {
    j: u32,
    share: u32,
    shares: u32,
    there: bool,
}

fn owner(lane: u32) -> Owner {
    let shares = shares_of(N_4[1], INPUTS_16);
    return Owner(lane / shares, lane % shares, shares, lane / shares < N_4[1]);
}

// The weights of a quarter: [r] is a row.
fn own_block(u: u32, c: u32) -> mat4x4<f32> {
    let at = 16u * u + 4u * c;
    return mat4x4(own[at], own[at + 1u], own[at + 2u], own[at + 3u]);
}

// a = σ(x wᵀ + b), summed in the same order as in first_weights_shared.wgsl.
fn feedforward_inputs(numbers: MiniBatch, lane: u32) {
    let mine = owner(lane);
    let first = numbers.first;
    for (var r = 0u; r < EXAMPLES_4; r += BLOCKS) {
        for (var i = 0u; i < BLOCKS; i++) {
            examples[i] = examples_4(first, r + i);
            sums[i] = mat4x4<f32>();
        }
        feedforward_units(mine);
        var z = sums;
        for (var i = 0u; i < blocks_at_once(first); i++) {
            finish_block(1u, numbers, r + i, mine.j, mine.there, lane, mine.share, mine.shares, INPUT_SCALE * z[i]);
        }
    }
}

// The step for the four weights own[i], which are at `at` in the packed parameters. `share` is the
// part of the gradient from one group of examples.
fn update_own(i: u32, at: u32, share: vec4<f32>, step: Step, group: u32) {
    var gradient = share;
    if SUMS_GROUPS {
        if group > 0u { gradient += own[OWN_SUMS_AT + i]; }
        if group + 1u < GROUPS {
            own[OWN_SUMS_AT + i] = gradient;
            return;
        }
    }
    let w = decayed(own[i], DECAYS && (SUMS_GROUPS || group == 0u), step);
    let entries = stepped(with_state(at, w), gradient, step);
    own[i] = entries.parameters;
    keep_state(at, entries);
}

fn descend_quarter(u: u32, c: u32, k: u32, mine: Owner, gradient: mat4x4<f32>, step: Step, group: u32) {
    let i = 16u * u + 4u * c;
    let at = weights_at(1u, mine.j, 4u * k + c);
    update_own(i, at, gradient[0], step, group);
    update_own(i + 1u, at + N_4[0], gradient[1], step, group);
    update_own(i + 2u, at + 2u * N_4[0], gradient[2], step, group);
    update_own(i + 3u, at + 3u * N_4[0], gradient[3], step, group);
}

// BP4 and the step: ∇w = Σ δ aᵀ
fn descend_inputs(step: Step, lane: u32) {
    let mine = owner(lane);
    let first = step.numbers.first;
    for (var r = 0u; r < EXAMPLES_4; r += BLOCKS) {
        for (var i = 0u; i < BLOCKS; i++) {
            examples[i] = examples_4(first, r + i);
            deltas[i] = INPUT_SCALE * transpose(error_block(1u, r + i, min(mine.j, N_4[1] - 1u)));
        }
        descend_units(mine, step, r / BLOCKS);
    }
}

// Takes 4 x 4 weights from the packed parameters.
fn fetch_quarter(u: u32, c: u32, k: u32, mine: Owner) {
    let i = 16u * u + 4u * c;
    let at = in_storage(weights_at(1u, mine.j, 4u * k + c));
    own[i] = parameters[at];
    own[i + 1u] = parameters[at + N_4[0]];
    own[i + 2u] = parameters[at + 2u * N_4[0]];
    own[i + 3u] = parameters[at + 3u * N_4[0]];
}

fn return_quarter(u: u32, c: u32, k: u32, mine: Owner) {
    let i = 16u * u + 4u * c;
    let at = in_storage(weights_at(1u, mine.j, 4u * k + c));
    parameters[at] = own[i];
    parameters[at + N_4[0]] = own[i + 1u];
    parameters[at + 2u * N_4[0]] = own[i + 2u];
    parameters[at + 3u * N_4[0]] = own[i + 3u];
}

fn fetch_first_weights(lane: u32) {
    fetch_units(owner(lane));
}

fn return_first_weights(lane: u32) {
    return_units(owner(lane));
}
