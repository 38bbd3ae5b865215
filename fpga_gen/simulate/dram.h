// Cycle-accurate, deterministic model of the DRAM behind the AXI4 ports of the accelerator.
//
// Time is counted in clock edges. `sample` is called before an edge with the settled outputs of the
// design, `update` after it; every pin that the model drives is a register of the model, so
// nothing depends combinationally on the design.
//
// Bandwidth. Every beat takes 16 bytes from a token bucket that gains `rate_q10` / 1024 bytes a
// cycle and holds at most `bucket_bytes`; the first beat of a burst takes `burst_overhead` bytes
// more. At most `bytes_per_cycle` move in one cycle, over all ports and both directions, at most one
// beat per port and direction. In the first `refresh_length` of every `refresh_interval` cycles
// nothing moves.
// Latency. The first R handshake of a burst is at least `read_latency` edges after its AR handshake,
// a B handshake at least `write_latency` edges after the handshake of the last W beat.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>

constexpr int kBeat = 16;            // bytes of a beat of a 128-bit port
constexpr uint8_t kOkay = 0, kSlvErr = 2, kDecErr = 3;
constexpr uint8_t kPoison = 0xBD;    // bytes of read data that came with an error response

// Mirrored field by field by fpga_gen/simulate/native.py.
struct DramConfig {
    uint64_t base, size;             // bytes
    uint64_t seed;
    uint32_t bytes_per_cycle, rate_q10, bucket_bytes, burst_overhead;
    uint32_t refresh_interval, refresh_length;
    uint32_t read_latency, write_latency;
    uint32_t outstanding, max_burst_beats;
    uint32_t jitter_q10, jitter_latency;
};

struct PortStats {
    uint64_t read_beats, write_beats, read_bursts, write_bursts;
    uint64_t min_read_latency, max_read_latency;  // AR handshake to first R handshake; 0: no burst
    uint64_t lowest_address, end_address;         // of all bursts; equal: no burst
    uint64_t error_responses;
};

enum FaultKind : uint32_t {
    kNoFault = 0, kFaultResponse = 1, kFaultHang = 2, kFaultLast = 3, kFaultSurplus = 4,
    kFaultShort = 5
};
struct Fault {
    uint32_t kind, write, port, response;
    uint64_t beat;                   // counted from 0 per port and direction, from reset
};

// First violation of the AXI4 rules, as text.
class Monitor {
  public:
    uint64_t cycle = 0;
    std::string error;
    void report(const std::string& what) {
        if (error.empty()) error = "cycle " + std::to_string(cycle) + ": " + what;
    }
};

struct Burst {
    uint64_t address;
    uint32_t beats;                  // left
    uint64_t accepted;               // edge of the address handshake
    uint64_t ready;                  // first edge at which a beat may be handed over
    bool first, decode_error, fault;
};
struct BurstHead {
    uint64_t address;
    uint8_t len, size, burst;
    bool operator==(const BurstHead& o) const {
        return address == o.address && len == o.len && size == o.size && burst == o.burst;
    }
};
// What all ports share: memory, bandwidth, randomness.
class Dram {
    int64_t tokens_ = 0;             // bytes * 1024
    int64_t cycle_bytes_ = 0;        // left in this cycle
    uint64_t random_;

  public:
    const DramConfig config;
    uint8_t* const memory;
    Monitor monitor;
    Fault fault{};
    bool refreshing = false;

    Dram(const DramConfig& c, uint8_t* m)
        : random_(c.seed * 0x9E3779B97F4A7C15ull | 1), config(c), memory(m) {
        tokens_ = int64_t(c.bucket_bytes) << 10;
    }
    uint32_t random() {
        random_ ^= random_ << 13, random_ ^= random_ >> 7, random_ ^= random_ << 17;
        return uint32_t(random_ >> 24);
    }
    // True when random back-pressure withholds a handshake in this cycle.
    bool jitter() { return config.jitter_q10 && (random() & 1023) < config.jitter_q10; }
    uint32_t extra_latency() {
        return config.jitter_latency ? random() % (config.jitter_latency + 1) : 0;
    }
    void begin_cycle() {
        tokens_ += config.rate_q10;
        const int64_t full = int64_t(config.bucket_bytes) << 10;
        if (tokens_ > full) tokens_ = full;
        cycle_bytes_ = config.bytes_per_cycle;
        refreshing = config.refresh_interval &&
                     monitor.cycle % config.refresh_interval < config.refresh_length;
    }
    bool take_beat(bool first) {
        const int64_t cost = int64_t(kBeat + (first ? config.burst_overhead : 0)) << 10;
        if (refreshing || cycle_bytes_ < kBeat || tokens_ < cost) return false;
        tokens_ -= cost;
        cycle_bytes_ -= kBeat;
        return true;
    }
    bool faulty(bool write, uint32_t port, uint64_t beat, FaultKind kind) const {
        return fault.kind == uint32_t(kind) && bool(fault.write) == write && fault.port == port &&
               (kind == kFaultHang || kind == kFaultSurplus ? beat >= fault.beat : beat == fault.beat);
    }
    Burst accept(const char* channel, const BurstHead& head, uint32_t latency, PortStats& stats) {
        const uint32_t beats = head.len + 1u, bytes = beats * kBeat;
        auto bad = [&](const char* rule) {
            char text[160];
            std::snprintf(text, sizeof text, "%saddr 0x%llx, %u beats: %s", channel,
                          (unsigned long long)head.address, beats, rule);
            monitor.report(text);
        };
        if (head.size != 4) bad("burst size is not 16 bytes");
        if (head.burst != 1) bad("burst type is not INCR");
        if (head.address % kBeat) bad("address is not a multiple of 16");
        if (head.address % 4096 + bytes > 4096) bad("burst crosses a 4 KiB boundary");
        if (beats > config.max_burst_beats) bad("burst is longer than the memory accepts");
        const bool inside = head.address >= config.base && bytes <= config.size &&
                            head.address - config.base <= config.size - bytes;
        const bool none = stats.lowest_address == stats.end_address;
        if (none || head.address < stats.lowest_address) stats.lowest_address = head.address;
        if (none || head.address + bytes > stats.end_address)
            stats.end_address = head.address + bytes;
        return {head.address, beats,   monitor.cycle, monitor.cycle + latency + extra_latency(),
                true,         !inside, false};
    }
};
