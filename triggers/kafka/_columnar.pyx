# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The inner loops of the columnar codec; `_columnar_py.py` says what each does, and is its twin in all it returns.

What does not belong here: anything done once per batch or per fetch, which `columnar.py` does.
Every read of the fetched bytes is behind a comparison with the end of its batch.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_FromStringAndSize
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport INT64_MAX, INT64_MIN, int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from ._columnar_py import columns_in

cdef extern from *:
    """
    #include <stddef.h>
    #include <stdint.h>
    #include <string.h>

    /* CRC-32C (Castagnoli, RFC 3720 appendix B.4), reflected polynomial 0x82F63B78, eight bytes a step. */
    static uint32_t headrace_crc_table[8][256];

    static void headrace_crc_prepare(void) {
        for (int n = 0; n < 256; n++) {
            uint32_t crc = (uint32_t)n;
            for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >> 1) ^ 0x82F63B78u : crc >> 1;
            headrace_crc_table[0][n] = crc;
        }
        for (int n = 0; n < 256; n++)
            for (int k = 1; k < 8; k++) {
                uint32_t crc = headrace_crc_table[k - 1][n];
                headrace_crc_table[k][n] = headrace_crc_table[0][crc & 0xff] ^ (crc >> 8);
            }
    }

    static uint32_t headrace_crc_by_table(const uint8_t *at, size_t size) {
        uint32_t crc = 0xffffffffu;
        for (; size >= 8; at += 8, size -= 8) {
            crc ^= (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
            crc = headrace_crc_table[7][crc & 0xff] ^ headrace_crc_table[6][(crc >> 8) & 0xff]
                ^ headrace_crc_table[5][(crc >> 16) & 0xff] ^ headrace_crc_table[4][crc >> 24]
                ^ headrace_crc_table[3][at[4]] ^ headrace_crc_table[2][at[5]]
                ^ headrace_crc_table[1][at[6]] ^ headrace_crc_table[0][at[7]];
        }
        for (; size; at++, size--) crc = headrace_crc_table[0][(crc ^ *at) & 0xff] ^ (crc >> 8);
        return crc ^ 0xffffffffu;
    }

    #if defined(__x86_64__) && defined(__GNUC__)
    /* The instruction takes 3 cycles and one can start in each, so three blocks go side by side; the first two are
       then moved over the bytes that follow them, by tables of what HEADRACE_CRC_BLOCK zero bytes do to a CRC. */
    #define HEADRACE_CRC_BLOCK 1024
    static uint32_t headrace_crc_over[4][256];

    __attribute__((target("sse4.2")))
    static void headrace_crc_prepare_over(void) {
        for (int k = 0; k < 4; k++)
            for (int n = 0; n < 256; n++) {
                uint64_t crc = (uint64_t)n << (8 * k);
                for (int at = 0; at < HEADRACE_CRC_BLOCK; at += 8) crc = __builtin_ia32_crc32di(crc, 0);
                headrace_crc_over[k][n] = (uint32_t)crc;
            }
    }

    static inline uint64_t headrace_crc_move(uint64_t crc) {
        return headrace_crc_over[0][crc & 0xff] ^ headrace_crc_over[1][(crc >> 8) & 0xff]
             ^ headrace_crc_over[2][(crc >> 16) & 0xff] ^ headrace_crc_over[3][(crc >> 24) & 0xff];
    }

    __attribute__((target("sse4.2")))
    static uint32_t headrace_crc_by_sse42(const uint8_t *at, size_t size) {
        uint64_t crc = 0xffffffffu, word;
        while (size >= 3 * HEADRACE_CRC_BLOCK) {
            uint64_t second = 0, third = 0, word2, word3;
            for (size_t n = 0; n < HEADRACE_CRC_BLOCK; n += 8) {
                memcpy(&word, at + n, 8);
                memcpy(&word2, at + n + HEADRACE_CRC_BLOCK, 8);
                memcpy(&word3, at + n + 2 * HEADRACE_CRC_BLOCK, 8);
                crc = __builtin_ia32_crc32di(crc, word);
                second = __builtin_ia32_crc32di(second, word2);
                third = __builtin_ia32_crc32di(third, word3);
            }
            crc = headrace_crc_move(headrace_crc_move(crc) ^ second) ^ third;
            at += 3 * HEADRACE_CRC_BLOCK;
            size -= 3 * HEADRACE_CRC_BLOCK;
        }
        for (; size >= 8; at += 8, size -= 8) {
            memcpy(&word, at, 8);
            crc = __builtin_ia32_crc32di(crc, word);
        }
        for (; size; at++, size--) crc = __builtin_ia32_crc32qi((uint32_t)crc, *at);
        return (uint32_t)crc ^ 0xffffffffu;
    }
    #endif

    static uint32_t (*headrace_crc)(const uint8_t *, size_t) = headrace_crc_by_table;

    static int headrace_crc_choose(int hardware) {
        headrace_crc_prepare();
        headrace_crc = headrace_crc_by_table;
    #if defined(__x86_64__) && defined(__GNUC__)
        if (hardware && __builtin_cpu_supports("sse4.2")) {
            headrace_crc_prepare_over();
            headrace_crc = headrace_crc_by_sse42;
            return 1;
        }
    #endif
        return 0;
    }
    """
    uint32_t headrace_crc(const uint8_t *at, size_t size) nogil
    int headrace_crc_choose(int hardware)

cdef enum:
    SOUND = 0
    PAST_END = 1
    VARINT = 2
    LENGTH = 3
    OFFSET = 4
    TIMESTAMP = 5
    HEADERS = 6
    SIZE = 7
    TRAILING = 8

HARDWARE_CRC = bool(headrace_crc_choose(1))


def choose_crc(bint hardware):
    """Use the processor's instruction, where it has one, or the table; returns which it is."""
    return bool(headrace_crc_choose(hardware))


cdef class Held:
    """A buffer that stays where it is for as long as this object lives."""

    cdef Py_buffer buffer
    cdef bint held

    def __cinit__(self, data, int flags):
        PyObject_GetBuffer(data, &self.buffer, flags)
        self.held = True

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.buffer)


def crc32c(data, Py_ssize_t start, Py_ssize_t stop):
    cdef Held held = Held(data, PyBUF_SIMPLE)
    cdef uint32_t crc
    if not 0 <= start <= stop <= held.buffer.len:
        raise ValueError(f"crc32c: expected 0 <= start <= stop <= {held.buffer.len}, got {start} and {stop}")
    with nogil:
        crc = headrace_crc(<const uint8_t *> held.buffer.buf + start, stop - start)
    return crc


cdef struct Segment:
    Py_ssize_t start
    Py_ssize_t stop
    int64_t count
    int64_t base_offset
    int64_t last_delta
    int64_t first_timestamp
    bint append_time
    int64_t append_timestamp
    int16_t attributes


cdef struct Columns:
    int64_t *offsets
    int64_t *timestamps
    int32_t *key_starts
    int32_t *key_sizes
    int32_t *value_starts
    int32_t *value_sizes
    int32_t *header_starts
    int32_t *header_sizes
    int16_t *attributes
    Py_ssize_t count


cdef struct Problem:
    int64_t record
    Py_ssize_t position
    int64_t last_offset


cdef inline int read_varint(const uint8_t *at, Py_ssize_t *position, Py_ssize_t stop, int64_t *value) noexcept nogil:
    cdef Py_ssize_t place = position[0]
    cdef uint64_t byte
    cdef uint64_t bits = 0
    cdef int shift = 0
    while True:
        if place >= stop:
            return PAST_END
        byte = at[place]
        place += 1
        if shift == 63 and byte > 1:
            return VARINT
        bits |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
    position[0] = place
    value[0] = <int64_t> (bits >> 1) ^ -<int64_t> (bits & 1)
    return SOUND


cdef inline int read_extent(
    const uint8_t *at, Py_ssize_t *position, Py_ssize_t stop, Py_ssize_t *start, int64_t *size
) noexcept nogil:
    cdef int reason = read_varint(at, position, stop, size)
    if reason != SOUND:
        return reason
    start[0] = position[0]
    if size[0] < 0:
        size[0] = -1
        return SOUND
    if size[0] > stop - position[0]:
        return PAST_END
    position[0] += size[0]
    return SOUND


cdef int read_headers(const uint8_t *at, Py_ssize_t *position, Py_ssize_t stop) noexcept nogil:
    cdef int64_t count, size
    cdef Py_ssize_t start
    cdef int reason = read_varint(at, position, stop, &count)
    if reason != SOUND:
        return reason
    if count < 0 or count > stop - position[0]:
        return HEADERS
    while count:
        reason = read_extent(at, position, stop, &start, &size)
        if reason != SOUND:
            return reason
        if size < 0:
            return HEADERS
        reason = read_extent(at, position, stop, &start, &size)
        if reason != SOUND:
            return reason
        count -= 1
    return SOUND


cdef int read_records(
    const uint8_t *at, Segment *segment, int64_t from_offset, Columns *columns, Problem *problem
) noexcept nogil:
    cdef Py_ssize_t position = segment.start
    cdef Py_ssize_t stop = segment.stop
    cdef Py_ssize_t end, key_start, value_start, headers_start
    cdef int64_t length, delta, time_delta, key_size, value_size, timestamp
    cdef int64_t last_delta = -1
    cdef int64_t record
    cdef Py_ssize_t n
    cdef int reason
    for record in range(segment.count):
        problem.record = record
        problem.position = position
        problem.last_offset = segment.base_offset + last_delta
        reason = read_varint(at, &position, stop, &length)
        if reason != SOUND:
            return reason
        if length < 0 or length > stop - position:
            return LENGTH
        end = position + length
        if position >= stop:
            return PAST_END
        position += 1  # the record's attributes: none is defined
        reason = read_varint(at, &position, stop, &time_delta)
        if reason != SOUND:
            return reason
        reason = read_varint(at, &position, stop, &delta)
        if reason != SOUND:
            return reason
        if delta <= last_delta or delta > segment.last_delta:
            return OFFSET
        reason = read_extent(at, &position, stop, &key_start, &key_size)
        if reason != SOUND:
            return reason
        reason = read_extent(at, &position, stop, &value_start, &value_size)
        if reason != SOUND:
            return reason
        headers_start = position
        if position < stop and at[position] == 0:
            position += 1
        else:
            reason = read_headers(at, &position, stop)
            if reason != SOUND:
                return reason
        if position != end:
            return SIZE
        if segment.append_time:
            timestamp = segment.append_timestamp
        else:
            timestamp = segment.first_timestamp
            if time_delta > 0 and timestamp > INT64_MAX - time_delta:
                return TIMESTAMP
            if time_delta < 0 and timestamp < INT64_MIN - time_delta:
                return TIMESTAMP
            timestamp += time_delta
        last_delta = delta
        if segment.base_offset + delta < from_offset:
            continue
        n = columns.count
        columns.offsets[n] = segment.base_offset + delta
        columns.timestamps[n] = timestamp
        columns.key_starts[n] = <int32_t> key_start
        columns.key_sizes[n] = <int32_t> key_size
        columns.value_starts[n] = <int32_t> value_start
        columns.value_sizes[n] = <int32_t> value_size
        columns.header_starts[n] = <int32_t> headers_start
        columns.header_sizes[n] = <int32_t> (position - headers_start)
        columns.attributes[n] = segment.attributes
        columns.count = n + 1
    if position != stop:
        problem.record = segment.count
        problem.position = position
        problem.last_offset = segment.base_offset + last_delta
        return TRAILING
    return SOUND


def fill(data, list segments, Py_ssize_t capacity, int64_t from_offset):
    cdef Held held = Held(data, PyBUF_SIMPLE)
    cdef Segment segment
    cdef Columns columns
    cdef Problem problem
    cdef int reason = SOUND
    cdef int number = 0
    cdef Py_ssize_t room = capacity
    cdef bytearray storage = PyByteArray_FromStringAndSize(NULL, capacity * 42)
    cdef char *place = PyByteArray_AS_STRING(storage)
    columns.offsets = <int64_t *> place
    columns.timestamps = columns.offsets + capacity
    columns.key_starts = <int32_t *> (columns.timestamps + capacity)
    columns.key_sizes = columns.key_starts + capacity
    columns.value_starts = columns.key_sizes + capacity
    columns.value_sizes = columns.value_starts + capacity
    columns.header_starts = columns.value_sizes + capacity
    columns.header_sizes = columns.header_starts + capacity
    columns.attributes = <int16_t *> (columns.header_sizes + capacity)
    columns.count = 0
    for start, stop, count, base_offset, last_delta, first_timestamp, append_timestamp, attributes in segments:
        segment.start = start
        segment.stop = stop
        segment.count = count
        segment.base_offset = base_offset
        segment.last_delta = last_delta
        segment.first_timestamp = first_timestamp
        segment.append_time = append_timestamp is not None
        segment.append_timestamp = append_timestamp if append_timestamp is not None else 0
        segment.attributes = attributes
        room -= segment.count
        if not 0 <= segment.start <= segment.stop <= min(held.buffer.len, <Py_ssize_t> 0x7FFFFFFF) or room < 0:
            raise ValueError("fill: expected segments inside the data, and no more records than the capacity")
        with nogil:
            reason = read_records(<const uint8_t *> held.buffer.buf, &segment, from_offset, &columns, &problem)
        if reason != SOUND:
            break
        number += 1
    found = None
    if reason != SOUND:
        found = (number, problem.record, problem.position - segment.start, reason, problem.last_offset)
    return columns_in(storage, capacity, columns.count), found


def blobs(data, starts, sizes):
    cdef Held source = Held(data, PyBUF_SIMPLE)
    cdef Held places = Held(starts, PyBUF_SIMPLE)
    cdef Held lengths = Held(sizes, PyBUF_SIMPLE)
    cdef Py_ssize_t index, start, size
    cdef list found = []
    if places.buffer.len != lengths.buffer.len:
        raise ValueError(f"blobs: expected as many starts as sizes, got {len(starts)} and {len(sizes)}")
    for index in range(lengths.buffer.len // 4):
        start = (<const int32_t *> places.buffer.buf)[index]
        size = (<const int32_t *> lengths.buffer.buf)[index]
        if size < 0:
            found.append(None)
        else:
            expect_inside(start, size, source.buffer.len)
            found.append(PyBytes_FromStringAndSize(<const char *> source.buffer.buf + start, size))
    return found


def gather(data, starts, Py_ssize_t row_bytes, out):
    cdef Held source = Held(data, PyBUF_SIMPLE)
    cdef Held places = Held(starts, PyBUF_SIMPLE)
    cdef Held target = Held(out, PyBUF_WRITABLE)
    cdef const int32_t *place = <const int32_t *> places.buffer.buf
    cdef Py_ssize_t index
    cdef Py_ssize_t count = places.buffer.len // 4
    if row_bytes < 0 or target.buffer.len != count * row_bytes:
        raise ValueError(f"gather: expected {count} x {row_bytes} bytes of room, got {target.buffer.len}")
    for index in range(count):
        expect_inside(place[index], row_bytes, source.buffer.len)
    with nogil:
        for index in range(count):
            memcpy(<char *> target.buffer.buf + index * row_bytes,
                   <const char *> source.buffer.buf + place[index], row_bytes)


cdef inline int expect_inside(Py_ssize_t start, Py_ssize_t size, Py_ssize_t end) except -1:
    if start < 0 or start > end - size:
        raise ValueError(f"expected an extent inside {end} bytes, got {size} bytes at {start}")
    return 0
