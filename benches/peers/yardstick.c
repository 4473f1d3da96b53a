// The yardstick: the same training written for one network alone, with all that a general program cannot know: sizes at compile
// time, the lists of nonzero pixels made before the clock starts, any order of sums, no checks. How far a general program is
// from it says what generality costs.
//
//     cc -O3 -march=native -ffast-math -pthread -DHIDDEN=30 -DBATCH=10 -o yardstick-w1 yardstick.c -lm
//     cc -O3 -march=native -ffast-math -pthread -DHIDDEN=128 -DBATCH=64 -o yardstick-w2 yardstick.c -lm
//     MNIST=FOLDER ./yardstick-w1 --threads 1 --steps 60000 --reps 5
//
// Sigmoid neurons, quadratic cost, plain SGD. With two threads each has half of the hidden neurons, and both compute the output
// layer; they meet once a step, spinning.
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define INPUTS 784
#define OUTPUTS 10
#define TRAIN 50000
#define TEST 10000
#ifdef __AVX512F__
#define LANES 16
#else
#define LANES 8
#endif
// The outputs, padded to whole vectors.
#define OUT 16
#define PAD ((HIDDEN + 2 * LANES - 1) / (2 * LANES) * (2 * LANES))
#define ETA 3.0f

typedef float vector __attribute__((vector_size(4 * LANES), aligned(4 * LANES)));
#define UNROLLED _Pragma("GCC unroll 16")

typedef struct { uint32_t start, len; } list_t;
static list_t lists[TRAIN];
static uint16_t *columns;
static uint8_t *levels;
static float level[256];
static uint8_t *images, *labels, *test_images, *test_labels;
static uint32_t order[TRAIN + BATCH];

// Weights of the first layer by thread: (784, neurons of the thread); those of the second, (neurons, outputs), by thread, too.
static float w1[2][INPUTS * PAD] __attribute__((aligned(64)));
static float b1[2][PAD] __attribute__((aligned(64)));
static float w2[2][PAD][OUT] __attribute__((aligned(64)));
static float b2[2][OUT] __attribute__((aligned(64)));
// The activations of the hidden neurons, of one step and of the next.
static float hidden[2][BATCH][PAD] __attribute__((aligned(64)));
static atomic_uint arrived __attribute__((aligned(128)));
static int threads = 1, steps;

static inline float sigmoid(float z) { return 1.0f / (1.0f + expf(z < -80 ? 80 : -z)); }

// The steps of one thread, with `mine` of the padded neurons, from `first` on.
static inline __attribute__((always_inline)) void train(int thread, int first, int mine, int count) {
    float *w = w1[thread], *b = b1[thread];
    const float rate = ETA / BATCH;
    const int vectors = mine / LANES;
    for (int step = 0; step < count; step++) {
        const uint32_t *examples = order + (step * BATCH) % (TRAIN - BATCH + 1);
        float(*a)[PAD] = hidden[step & 1];
        float delta1[BATCH][PAD] __attribute__((aligned(64)));
        float delta2[BATCH][OUT] __attribute__((aligned(64)));
        for (int e = 0; e < BATCH; e++) {
            list_t next = lists[examples[e + BATCH]];
            for (uint32_t i = 0; i < next.len; i += 32) __builtin_prefetch(columns + next.start + i);
            for (uint32_t i = 0; i < next.len; i += 64) __builtin_prefetch(levels + next.start + i);
            list_t list = lists[examples[e]];
            const uint16_t *column = columns + list.start;
            const uint8_t *value = levels + list.start;
            UNROLLED
            for (int half = 0; half < vectors; half += 4) {
                vector sum[4];
                const int some = vectors - half < 4 ? vectors - half : 4;
                UNROLLED for (int v = 0; v < some; v++) sum[v] = *(vector *)(b + (half + v) * LANES);
                for (uint32_t i = 0; i < list.len; i++) {
                    const vector *row = (const vector *)(w + column[i] * mine) + half;
                    UNROLLED for (int v = 0; v < some; v++) sum[v] += level[value[i]] * row[v];
                }
                UNROLLED for (int v = 0; v < some; v++) *(vector *)(a[e] + first + (half + v) * LANES) = sum[v];
            }
            for (int j = 0; j < mine; j++) a[e][first + j] = sigmoid(a[e][first + j]);
        }
        if (threads == 2) {
            atomic_fetch_add(&arrived, 1);
            while (atomic_load(&arrived) < 2u * (step + 1)) __builtin_ia32_pause();
        }
        for (int e = 0; e < BATCH; e++) {
            vector z[OUT / LANES];
            UNROLLED for (int v = 0; v < OUT / LANES; v++) z[v] = ((vector *)b2[thread])[v];
            for (int j = 0; j < HIDDEN; j++)
                UNROLLED for (int v = 0; v < OUT / LANES; v++) z[v] += a[e][j] * ((vector *)w2[thread][j])[v];
            float *out = delta2[e];
            UNROLLED for (int v = 0; v < OUT / LANES; v++) ((vector *)out)[v] = z[v];
            for (int k = 0; k < OUT; k++) {
                float s = sigmoid(out[k]), y = k == labels[examples[e]];
                out[k] = k < OUTPUTS ? (s - y) * s * (1 - s) : 0;
            }
            for (int j = 0; j < mine; j++) {
                float s = 0, h = a[e][first + j];
                for (int k = 0; k < OUT; k++) s += w2[thread][first + j][k] * out[k];
                delta1[e][j] = s * h * (1 - h);
            }
        }
        for (int e = 0; e < BATCH; e++) {
            for (int k = 0; k < OUT; k++) b2[thread][k] -= rate * delta2[e][k];
            for (int j = 0; j < mine; j++) b[j] -= rate * delta1[e][j];
        }
        for (int j = 0; j < HIDDEN; j++) {
            UNROLLED for (int v = 0; v < OUT / LANES; v++) {
                vector sum = {0};
                for (int e = 0; e < BATCH; e++) sum += a[e][j] * ((vector *)delta2[e])[v];
                ((vector *)w2[thread][j])[v] -= rate * sum;
            }
        }
        for (int e = 0; e < BATCH; e++) {
            list_t list = lists[examples[e]];
            const uint16_t *column = columns + list.start;
            const uint8_t *value = levels + list.start;
            UNROLLED
            for (int half = 0; half < vectors; half += 4) {
                const int some = vectors - half < 4 ? vectors - half : 4;
                vector d[4];
                UNROLLED for (int v = 0; v < some; v++) d[v] = -rate * *(vector *)(delta1[e] + (half + v) * LANES);
                for (uint32_t i = 0; i < list.len; i++) {
                    vector *row = (vector *)(w + column[i] * mine) + half;
                    UNROLLED for (int v = 0; v < some; v++) row[v] += level[value[i]] * d[v];
                }
            }
        }
    }
}

static void *run(void *argument) {
    int thread = argument != NULL;
    if (threads == 1) train(0, 0, PAD, steps);
    else if (thread == 0) train(0, 0, PAD / 2, steps);
    else train(1, PAD / 2, PAD / 2, steps);
    return NULL;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

static uint8_t *load(const char *name, size_t header, size_t len) {
    char command[4096];
    const char *folder = getenv("MNIST");
    if (!folder) { fprintf(stderr, "MNIST: set it to the folder with the four .gz files of MNIST\n"); exit(1); }
    snprintf(command, sizeof command, "gzip -dc '%s/%s.gz'", folder, name);
    uint8_t *bytes = malloc(header + len);
    FILE *file = popen(command, "r");
    if (!bytes || !file || fread(bytes, 1, header + len, file) != header + len) {
        fprintf(stderr, "cannot read %s/%s.gz\n", folder, name);
        exit(1);
    }
    pclose(file);
    return bytes + header;
}

static float normal(void) {
    float u = (rand() + 1.0f) / (RAND_MAX + 2.0f), v = rand() / (float)RAND_MAX;
    return sqrtf(-2 * logf(u)) * cosf(6.2831853f * v);
}

static double accuracy(void) {
    int right = 0, mine = threads == 2 ? PAD / 2 : PAD;
    for (int n = 0; n < TEST; n++) {
        float a[PAD], z[OUTPUTS];
        for (int j = 0; j < HIDDEN; j++) {
            float *w = w1[j / mine], s = b1[j / mine][j % mine];
            for (int i = 0; i < INPUTS; i++) s += level[test_images[n * INPUTS + i]] * w[i * mine + j % mine];
            a[j] = sigmoid(s);
        }
        int best = 0;
        for (int k = 0; k < OUTPUTS; k++) {
            z[k] = b2[0][k];
            for (int j = 0; j < HIDDEN; j++) z[k] += a[j] * w2[0][j][k];
            if (z[k] > z[best]) best = k;
        }
        right += best == test_labels[n];
    }
    return right / (double)TEST;
}

static int by_size(const void *a, const void *b) { return (*(double *)a > *(double *)b) - (*(double *)a < *(double *)b); }

int main(int argc, char **argv) {
    int reps = 3;
    steps = TRAIN / BATCH;
    for (int i = 1; i + 1 < argc; i += 2) {
        int value = atoi(argv[i + 1]);
        if (!strcmp(argv[i], "--threads")) threads = value;
        else if (!strcmp(argv[i], "--steps")) steps = value;
        else if (!strcmp(argv[i], "--reps") || !strcmp(argv[i], "--epochs")) reps = value;
    }
    if (threads < 1 || threads > 2 || steps < 1 || reps < 1 || reps > 100) {
        fprintf(stderr, "--threads 1 or 2, --steps and --reps from 1\n");
        return 1;
    }
    images = load("train-images-idx3-ubyte", 16, TRAIN * INPUTS);
    labels = load("train-labels-idx1-ubyte", 8, TRAIN);
    test_images = load("t10k-images-idx3-ubyte", 16, TEST * INPUTS);
    test_labels = load("t10k-labels-idx1-ubyte", 8, TEST);
    columns = malloc(sizeof *columns * TRAIN * INPUTS / 2);
    levels = malloc(TRAIN * INPUTS / 2);
    for (int i = 0; i < 256; i++) level[i] = i / 255.0f;
    uint32_t end = 0;
    for (int n = 0; n < TRAIN; n++) {
        lists[n].start = end;
        for (int i = 0; i < INPUTS; i++) {
            uint8_t byte = images[n * INPUTS + i];
            if (byte) { columns[end] = i; levels[end++] = byte; }
        }
        lists[n].len = end - lists[n].start;
        order[n] = n;
    }
    srand(1);
    const int mine = threads == 2 ? PAD / 2 : PAD;
    const float scale1 = BATCH == 10 ? 1 : 1 / sqrtf(INPUTS), scale2 = BATCH == 10 ? 1 : 1 / sqrtf(HIDDEN);
    for (int j = 0; j < HIDDEN; j++) {
        b1[j / mine][j % mine] = normal();
        for (int i = 0; i < INPUTS; i++) w1[j / mine][i * mine + j % mine] = scale1 * normal();
        for (int k = 0; k < OUTPUTS; k++) w2[0][j][k] = w2[1][j][k] = scale2 * normal();
    }
    for (int k = 0; k < OUTPUTS; k++) b2[0][k] = b2[1][k] = normal();
    double times[101];
    for (int rep = 0; rep <= reps; rep++) {
        double start = now();
        for (int n = TRAIN - 1; n > 0; n--) {
            int other = (int)((rand() / (RAND_MAX + 1.0)) * (n + 1));
            uint32_t example = order[n];
            order[n] = order[other];
            order[other] = example;
        }
        atomic_store(&arrived, 0);
        pthread_t helper;
        if (threads == 2) pthread_create(&helper, NULL, run, order);
        run(NULL);
        if (threads == 2) pthread_join(helper, NULL);
        if (rep) times[rep - 1] = now() - start;
    }
    qsort(times, reps, sizeof *times, by_size);
    double median = times[reps / 2];
    printf("{\"peer\": \"yardstick\", \"workload\": \"%s\", \"threads\": %d, \"samples_per_s\": %.1f, \"steps_per_s\": %.2f, "
           "\"gflops\": %.2f, \"test_acc\": %.4f, \"samples_per_s_min\": %.1f, \"samples_per_s_max\": %.1f, \"runs\": %d, "
           "\"steps_per_run\": %d, \"epochs\": %d, \"notes\": \"\"}\n",
           BATCH == 10 ? "w1" : "w2", threads, steps * BATCH / median, steps / median,
           1e-9 * steps / median * BATCH * (4.0 * INPUTS * HIDDEN + 6.0 * HIDDEN * OUTPUTS), accuracy(),
           steps * BATCH / times[reps - 1], steps * BATCH / times[0], reps, steps, reps);
    return 0;
}
