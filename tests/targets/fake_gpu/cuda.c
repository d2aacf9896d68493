/* A stand-in for libcuda.so.1: device memory is the host's, and streams are queues that run when they are waited for.
 *
 * It is as strict as it can be: copies beyond an allocation, events read before they passed, launches of destroyed graphs and
 * calls without a context fail with CUDA's own error codes. FAKE_CUDA_DEVICES (default 1), FAKE_CUDA_PROCESSORS (24), FAKE_CUDA_INIT (an error code) and
 * FAKE_CUDA_CAPTURE=fail, FAKE_CUDA_CONTEXT (an error code) make it fail in the ways that real drivers do. fake_enqueue is how the fake TensorRT launches work.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, NO_DEVICE = 100, INVALID_CONTEXT = 201,
       INVALID_HANDLE = 400, NOT_READY = 600, CAPTURE_UNSUPPORTED = 900 };
enum { ALLOCATIONS = 4096, QUEUE = 1 << 16, CAPTURED = 64 };
#define TOTAL ((size_t)8 << 30)

typedef void (*work_t)(void *);
typedef struct { int magic; double at; int passed; } event_t;
typedef struct { int magic; int count; work_t work[CAPTURED]; void *argument[CAPTURED]; } graph_t;
typedef struct { work_t work; void *argument; event_t *event; void *to; const void *from; size_t size; } operation_t;
typedef struct { int magic; int capturing; graph_t captured; operation_t queue[QUEUE]; int count; } stream_t;

static struct { uint64_t address; size_t size; } allocations[ALLOCATIONS];
static size_t used;
static int initialized, current;
enum { EVENT = 0xE7E7, GRAPH = 0x6A6A, EXECUTABLE = 0xE6E6, STREAM = 0x57E4 };

static const char *setting(const char *name) { const char *value = getenv(name); return value ? value : ""; }
#define NEED_CONTEXT if (!current) return INVALID_CONTEXT
#define NEED(pointer, kind) if (!(pointer) || (pointer)->magic != kind) return INVALID_HANDLE

static int inside(uint64_t address, size_t size) {
    for (int i = 0; i < ALLOCATIONS; i++)
        if (allocations[i].address && address >= allocations[i].address &&
            address + size <= allocations[i].address + allocations[i].size) return 1;
    return 0;
}

int cuInit(unsigned flags) {
    int code = atoi(setting("FAKE_CUDA_INIT"));
    initialized = !code && !flags;
    return code;
}
int cuDriverGetVersion(int *version) { *version = 12060; return OK; }
int cuDeviceGetCount(int *count) {
    if (!initialized) return NOT_INITIALIZED;
    *count = *setting("FAKE_CUDA_DEVICES") ? atoi(setting("FAKE_CUDA_DEVICES")) : 1;
    return OK;
}
int cuDeviceGet(int *device, int number) { *device = 7; return number ? INVALID_VALUE : OK; }
int cuDeviceGetName(char *name, int length, int device) {
    if (device != 7) return INVALID_VALUE;
    snprintf(name, length, "Fake GPU");
    return OK;
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    const char *processors = setting("FAKE_CUDA_PROCESSORS");
    if (device != 7 || (attribute != 75 && attribute != 76 && attribute != 16)) return INVALID_VALUE;
    *value = attribute == 75 ? 8 : attribute == 76 ? 9 : *processors ? atoi(processors) : 24;
    return OK;
}
int cuDevicePrimaryCtxRetain(void **context, int device) {
    *context = &current;
    return device == 7 ? atoi(setting("FAKE_CUDA_CONTEXT")) : INVALID_VALUE;
}
int cuCtxSetCurrent(void *context) { current = context == &current; return OK; }
int cuGetErrorString(int code, const char **text) {
    *text = code == OUT_OF_MEMORY ? "out of memory" : code == NO_DEVICE ? "no CUDA-capable device is detected"
          : code == CAPTURE_UNSUPPORTED ? "operation not permitted when stream is capturing" : "invalid argument";
    return OK;
}

int cuMemGetInfo_v2(size_t *free, size_t *total) { NEED_CONTEXT; *total = TOTAL; *free = TOTAL - used; return OK; }
int cuMemAlloc_v2(uint64_t *address, size_t size) {
    NEED_CONTEXT;
    if (!size) return INVALID_VALUE;
    if (used + size > TOTAL) return OUT_OF_MEMORY;
    for (int i = 0; i < ALLOCATIONS; i++)
        if (!allocations[i].address) {
            allocations[i].address = *address = (uint64_t)malloc(size);
            allocations[i].size = size;
            used += size;
            return OK;
        }
    return OUT_OF_MEMORY;
}
int cuMemFree_v2(uint64_t address) {
    for (int i = 0; i < ALLOCATIONS; i++)
        if (address && allocations[i].address == address) {
            free((void *)address);
            used -= allocations[i].size;
            allocations[i].address = 0;
            return OK;
        }
    return INVALID_VALUE;
}

static int queued(stream_t *stream, operation_t operation) {
    if (stream->count == QUEUE) return OUT_OF_MEMORY;
    stream->queue[stream->count++] = operation;
    return OK;
}
int cuStreamCreate(stream_t **stream, unsigned flags) {
    NEED_CONTEXT;
    *stream = calloc(1, sizeof(stream_t));
    (*stream)->magic = STREAM;
    return flags == 1 ? OK : INVALID_VALUE;
}
int cuStreamDestroy_v2(stream_t *stream) { NEED(stream, STREAM); stream->magic = 0; free(stream); return OK; }
int cuStreamSynchronize(stream_t *stream) {
    NEED(stream, STREAM);
    if (stream->capturing) return CAPTURE_UNSUPPORTED;
    for (int i = 0; i < stream->count; i++) {
        operation_t *operation = &stream->queue[i];
        if (operation->work) operation->work(operation->argument);
        if (operation->to) memcpy(operation->to, operation->from, operation->size);
        if (operation->event) {
            struct timespec now;
            clock_gettime(CLOCK_MONOTONIC, &now);
            operation->event->at = now.tv_sec * 1e3 + now.tv_nsec * 1e-6;
            operation->event->passed = 1;
        }
    }
    stream->count = 0;
    return OK;
}
int cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t size, stream_t *stream) {
    NEED(stream, STREAM);
    if (!inside(to, size)) return INVALID_VALUE;
    return queued(stream, (operation_t){.to = (void *)to, .from = from, .size = size});
}
int cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t size, stream_t *stream) {
    NEED(stream, STREAM);
    if (!inside(from, size)) return INVALID_VALUE;
    return queued(stream, (operation_t){.to = to, .from = (void *)from, .size = size});
}

int cuEventCreate(event_t **event, unsigned flags) {
    NEED_CONTEXT;
    *event = calloc(1, sizeof(event_t));
    (*event)->magic = EVENT;
    return flags ? INVALID_VALUE : OK;
}
int cuEventDestroy_v2(event_t *event) { NEED(event, EVENT); event->magic = 0; free(event); return OK; }
int cuEventRecord(event_t *event, stream_t *stream) {
    NEED(event, EVENT);
    NEED(stream, STREAM);
    event->passed = 0;
    return queued(stream, (operation_t){.event = event});
}
int cuEventElapsedTime(float *milliseconds, event_t *start, event_t *end) {
    NEED(start, EVENT);
    NEED(end, EVENT);
    if (!start->passed || !end->passed) return NOT_READY;
    *milliseconds = (float)(end->at - start->at);
    return OK;
}

int cuStreamBeginCapture_v2(stream_t *stream, int mode) {
    NEED(stream, STREAM);
    if (mode != 1 || stream->capturing || stream->count) return INVALID_VALUE;
    stream->capturing = 1;
    stream->captured = (graph_t){.magic = GRAPH};
    return OK;
}
int cuStreamEndCapture(stream_t *stream, graph_t **graph) {
    NEED(stream, STREAM);
    if (!stream->capturing) return INVALID_VALUE;
    stream->capturing = 0;
    *graph = NULL;
    if (!strcmp(setting("FAKE_CUDA_CAPTURE"), "fail")) return CAPTURE_UNSUPPORTED;
    *graph = malloc(sizeof(graph_t));
    **graph = stream->captured;
    return OK;
}
int cuGraphDestroy(graph_t *graph) { NEED(graph, GRAPH); graph->magic = 0; free(graph); return OK; }
int cuGraphInstantiateWithFlags(graph_t **executable, graph_t *graph, unsigned long long flags) {
    NEED(graph, GRAPH);
    if (flags) return INVALID_VALUE;
    *executable = malloc(sizeof(graph_t));
    **executable = *graph;
    (*executable)->magic = EXECUTABLE;
    return OK;
}
int cuGraphExecDestroy(graph_t *executable) { NEED(executable, EXECUTABLE); executable->magic = 0; free(executable); return OK; }
int cuGraphLaunch(graph_t *executable, stream_t *stream) {
    NEED(executable, EXECUTABLE);
    NEED(stream, STREAM);
    if (stream->capturing) return CAPTURE_UNSUPPORTED;
    for (int i = 0; i < executable->count; i++) {
        int code = queued(stream, (operation_t){.work = executable->work[i], .argument = executable->argument[i]});
        if (code) return code;
    }
    return OK;
}

/* What the fake TensorRT uses: work into a stream, which a capture takes instead of the queue. */
int fake_enqueue(stream_t *stream, work_t work, void *argument) {
    NEED(stream, STREAM);
    if (!stream->capturing) return queued(stream, (operation_t){.work = work, .argument = argument});
    if (stream->captured.count == CAPTURED) return OUT_OF_MEMORY;
    stream->captured.work[stream->captured.count] = work;
    stream->captured.argument[stream->captured.count++] = argument;
    return OK;
}
size_t fake_bytes(uint64_t address) {
    for (int i = 0; i < ALLOCATIONS; i++)
        if (address && allocations[i].address == address) return allocations[i].size;
    return 0;
}
