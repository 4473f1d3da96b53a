"""JAX on the CPU: one jitted call per epoch, a scan over mini-batches of indices, donated parameters."""
import common
a = common.parse()
import os
os.environ.setdefault("JAX_PLATFORMS", "cpu")
if a.threads == 1:
    os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"
from functools import partial
import jax, jax.numpy as jnp
X, Y, TX, TY = common.load(a)
X, T = jnp.asarray(X), jnp.asarray(common.onehot(Y))
N = len(Y) // a.batch


def loss(ps, x, t):
    for w, b in ps:
        x = jax.nn.sigmoid(x @ w + b)
    return 0.5 * ((x - t) ** 2).sum() / x.shape[0]


@partial(jax.jit, static_argnums=4, donate_argnums=0)
def train(ps, key, X, T, n):
    perm = jax.random.permutation(key, X.shape[0])
    batches = jnp.resize(perm, (n * a.batch,)).reshape(n, a.batch)

    def body(ps, batch):
        g = jax.grad(loss)(ps, X[batch], T[batch])
        return jax.tree.map(lambda p, d: p - a.eta * d, ps, g), None

    return jax.lax.scan(body, ps, batches)[0]


def fresh():
    return [(jnp.asarray(w), jnp.asarray(b)) for w, b in common.init_params(a)]


key = jax.random.key(a.seed)
state = fresh()


def run(n):
    global state, key
    key, sub = jax.random.split(key)
    state = train(state, sub, X, T, n)
    jax.block_until_ready(state)


n = N if a.epochs else a.steps
run(n)  # compiles; the second call meets the outputs of the first
run(n)
state = fresh()
times, steps = common.measure(a, len(Y), lambda: run(N), run)
common.report("jax", a, times, steps, common.accuracy(state, TX, TY), f"jax {jax.__version__}")
