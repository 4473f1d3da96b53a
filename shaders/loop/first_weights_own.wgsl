
// The weights into the first layer of neurons in variables of the invocations, from the first mini-batch of a dispatch to the
// last. An invocation has 4 neurons and units of 16 inputs: unit u is the u-th of its blocks of inputs, and quarter c of it are 4
// of them. own[16u + 4c + r] are the weights of neuron 4j + r there. Sums of gradients of the GROUPS follow, where the optimizer
// needs them; its state stays in storage.
//
// The functions *_units follow: they go through the units and quarters of an invocation, each with its number, without loops.

var<private> own: array<vec4<f32>, OWN_ALL>;
// Of the blocks of examples at work: their numbers, their inputs, their weighted inputs, their errors.
var<private> examples: array<vec4<u32>, BLOCKS>;
var<private> x: array<array<Inputs, 4>, BLOCKS>;
var<private> sums: array<mat4x4<f32>, BLOCKS>;
var<private> deltas: array<mat4x4<f32>, BLOCKS>;

// The neurons 4j to 4j + 3 of an invocation, and which of the `shares` of the inputs it has.
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

// a = σ(x wᵀ + b): sums of an invocation are in the same order as those of weights that are shared.
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

// The step for the four weights own[i], whose place in the packed parameters is `at`.
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
