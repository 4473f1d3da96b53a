"""JAX with what practitioners use: ReLU, softmax, cross-entropy, Adam (w1 to w3); tanh and squared error for w5. One compiled
scan over the mini-batches of an epoch. Weights start He-scaled; Adam has η = 0.001, β 0.9 and 0.999, ε 1e-8.
"""
import os
import common
a = common.parse()
import numpy as np

os.environ.setdefault("JAX_PLATFORMS", "cpu")
if a.threads == 1:
    os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"
from functools import partial
import jax, jax.numpy as jnp

numbers = a.w["data"] == "numbers"
eta = a.w["eta"] if numbers else 1e-3
if numbers:
    random = np.random.default_rng(7)
    X, Y = random.standard_normal((10000, 4), dtype=np.float32), random.standard_normal((10000, 4), dtype=np.float32)
    TX = TY = None
else:
    X, Y, TX, TY = common.load(a)
activation = jnp.tanh if numbers else jax.nn.relu


def forward(layers, x):
    for w, b in layers[:-1]:
        x = activation(x @ w + b)
    return x @ layers[-1][0] + layers[-1][1]


def cost(layers, x, y):
    z = forward(layers, x)
    if numbers:
        return 0.5 * ((z - y) ** 2).sum() / len(x)
    return -jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], 1).mean()


@partial(jax.jit, static_argnums=4, donate_argnums=0)
def train(state, key, X, Y, steps):
    order = jax.random.permutation(key, X.shape[0])
    order = jnp.resize(order, (steps * a.batch,)).reshape(steps, a.batch)

    def step(state, picked):
        layers, mean, squares, t = state
        g = jax.grad(cost)(layers, *((X, Y) if numbers else (X[picked], Y[picked])))
        t = t + 1
        mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, g)
        squares = jax.tree.map(lambda r, g: 0.999 * r + 0.001 * g * g, squares, g)
        first, second = 1 - 0.9**t, 1 - 0.999**t
        update = lambda w, m, r: w - eta * (m / first) / (jnp.sqrt(r / second) + 1e-8)
        return (jax.tree.map(update, layers, mean, squares), mean, squares, t), None

    return jax.lax.scan(step, state, order)[0]


def fresh():
    random = np.random.default_rng(a.seed)
    layers = [(jnp.asarray(random.standard_normal((i, o), dtype=np.float32) * np.float32((2 / i) ** 0.5)),
               jnp.zeros(o, jnp.float32)) for i, o in zip(a.sizes, a.sizes[1:])]
    zeros = lambda: jax.tree.map(jnp.zeros_like, layers)
    return layers, zeros(), zeros(), jnp.float32(0)


def run(steps):
    global state, key
    key, part = jax.random.split(key)
    state = train(state, part, X, Y, steps)
    jax.block_until_ready(state)


X, Y = jnp.asarray(X), jnp.asarray(Y)
epoch = len(X) // a.batch
steps = epoch if a.epochs else a.steps
key, state = jax.random.key(a.seed), fresh()
run(steps)
run(steps)
state = fresh()
times, steps = common.measure(a, len(X), lambda: run(epoch), run)
accuracy = None if TX is None else float((jnp.argmax(forward(state[0], jnp.asarray(TX)), 1) == jnp.asarray(TY)).mean())
common.report("jax-modern", a, times, steps, accuracy, f"jax {jax.__version__}")
