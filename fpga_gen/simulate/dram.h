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
#include <deque>
#include <string>

constexpr int kBeat = 16;            // bytes of a beat of a 128-bit port
constexpr int kWriteBuffer = 32;     // beats between the W channel and the DRAM
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

enum FaultKind : uint32_t { kNoFault = 0, kFaultResponse = 1, kFaultHang = 2 };
struct Fault {
    uint32_t kind, write, port, response;
    uint64_t beat;                   // counted from 0 per port and direction, from reset
};

// Pins of one read port; the design drives the const ones.
template <class Address>
struct ReadPins {
    const Address* araddr;
    const uint8_t *arlen, *arsize, *arburst, *arvalid;
    uint8_t* arready;
    uint32_t* rdata;
    uint8_t *rresp, *rlast, *rvalid;
    const uint8_t* rready;
};
template <class Address>
struct WritePins {
    const Address* awaddr;
    const uint8_t *awlen, *awsize, *awburst, *awvalid;
    uint8_t* awready;
    const uint32_t* wdata;
    const uint16_t* wstrb;
    const uint8_t *wlast, *wvalid;
    uint8_t* wready;
    uint8_t *bresp, *bvalid;
    const uint8_t* bready;
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

// The part of a valid/ready channel that must not move while the source waits.
template <class Payload>
class StableCheck {
    Payload held_{};
    bool waiting_ = false;

  public:
    void reset() { waiting_ = false; }
    void check(Monitor& monitor, const char* name, bool valid, bool ready, const Payload& now) {
        if (waiting_ && !valid)
            monitor.report(std::string(name) + "valid fell before " + name + "ready");
        else if (waiting_ && !(now == held_))
            monitor.report(std::string(name) + " payload changed while it waited for ready");
        waiting_ = valid && !ready;
        if (waiting_) held_ = now;
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
struct WriteBeat {
    uint32_t data[4];
    uint16_t strobe;
    uint8_t last;
    bool operator==(const WriteBeat& o) const {
        return !std::memcmp(data, o.data, sizeof data) && strobe == o.strobe && last == o.last;
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
               (kind == kFaultHang ? beat >= fault.beat : beat == fault.beat);
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

template <class Address>
class ReadPort {
    ReadPins<Address> pins_{};
    std::string channel_;
    uint32_t index_ = 0;
    std::deque<Burst> queue_;
    StableCheck<BurstHead> stable_;
    bool ar_ = false, r_ = false;    // handshakes of the coming edge
    BurstHead head_{};
    uint64_t served_ = 0;            // beats handed over since reset
    uint64_t first_accepted_ = 0;
    bool first_ = false;             // the beat on R is the first of its burst

  public:
    PortStats* stats = nullptr;
    void bind(uint32_t index, const ReadPins<Address>& pins, PortStats* s) {
        index_ = index, pins_ = pins, stats = s;
        channel_ = "m_axi_" + std::to_string(index) + "_ar";
    }
    void reset() {
        queue_.clear(), stable_.reset();
        served_ = 0;
        *pins_.arready = *pins_.rvalid = *pins_.rlast = 0;
    }
    bool requesting() const { return *pins_.arvalid; }
    void sample(Dram& dram) {
        const bool valid = *pins_.arvalid, ready = *pins_.arready;
        ar_ = valid && ready;
        if (valid) head_ = {uint64_t(*pins_.araddr), *pins_.arlen, *pins_.arsize, *pins_.arburst};
        stable_.check(dram.monitor, channel_.c_str(), valid, ready, head_);
        r_ = *pins_.rvalid && *pins_.rready;
    }
    void update(Dram& dram) {
        if (r_) {
            *pins_.rvalid = 0;
            stats->read_beats++;
            if (first_) {
                const uint64_t latency = dram.monitor.cycle - first_accepted_;
                if (!stats->read_bursts++ || latency < stats->min_read_latency)
                    stats->min_read_latency = latency;
                if (latency > stats->max_read_latency) stats->max_read_latency = latency;
            }
        }
        if (!queue_.empty() && !*pins_.rvalid) serve(dram);
        if (ar_)
            queue_.push_back(
                dram.accept(channel_.c_str(), head_, dram.config.read_latency, *stats));
        *pins_.arready = queue_.size() < dram.config.outstanding && !dram.jitter();
    }

  private:
    void serve(Dram& dram) {
        Burst& burst = queue_.front();
        // A beat put on R now is handed over at the next edge.
        if (dram.monitor.cycle + 1 < burst.ready || dram.jitter()) return;
        if (dram.faulty(false, index_, served_, kFaultHang) || !dram.take_beat(burst.first)) return;
        uint8_t response = burst.decode_error ? kDecErr : kOkay;
        if (dram.faulty(false, index_, served_, kFaultResponse))
            response = uint8_t(dram.fault.response);
        if (response == kOkay) {
            std::memcpy(pins_.rdata, dram.memory + (burst.address - dram.config.base), kBeat);
        } else {
            std::memset(pins_.rdata, kPoison, kBeat);
            stats->error_responses++;
        }
        *pins_.rresp = response;
        *pins_.rlast = burst.beats == 1;
        *pins_.rvalid = 1;
        first_ = burst.first;
        first_accepted_ = burst.accepted;
        burst.first = false;
        burst.address += kBeat;
        served_++;
        if (!--burst.beats) queue_.pop_front();
    }
};

template <class Address>
class WritePort {
    WritePins<Address> pins_{};
    std::deque<Burst> queue_;
    std::deque<WriteBeat> buffer_;
    struct Response {
        uint64_t ready;
        uint8_t code;
    };
    std::deque<Response> responses_;
    StableCheck<BurstHead> stable_aw_;
    StableCheck<WriteBeat> stable_w_;
    bool aw_ = false, w_ = false, b_ = false;
    BurstHead head_{};
    WriteBeat beat_{};
    uint64_t stored_ = 0;            // beats stored since reset

  public:
    PortStats* stats = nullptr;
    void bind(const WritePins<Address>& pins, PortStats* s) { pins_ = pins, stats = s; }
    void reset() {
        queue_.clear(), buffer_.clear(), responses_.clear(), stable_aw_.reset(), stable_w_.reset();
        stored_ = 0;
        *pins_.awready = *pins_.wready = *pins_.bvalid = 0;
    }
    bool requesting() const { return *pins_.awvalid || *pins_.wvalid; }
    void sample(Dram& dram) {
        const bool aw = *pins_.awvalid, w = *pins_.wvalid;
        aw_ = aw && *pins_.awready, w_ = w && *pins_.wready;
        if (aw) head_ = {uint64_t(*pins_.awaddr), *pins_.awlen, *pins_.awsize, *pins_.awburst};
        if (w) {
            std::memcpy(beat_.data, pins_.wdata, kBeat);
            beat_.strobe = *pins_.wstrb, beat_.last = *pins_.wlast;
        }
        stable_aw_.check(dram.monitor, "m_axi_0_aw", aw, *pins_.awready, head_);
        stable_w_.check(dram.monitor, "m_axi_0_w", w, *pins_.wready, beat_);
        b_ = *pins_.bvalid && *pins_.bready;
    }
    void update(Dram& dram) {
        if (b_) *pins_.bvalid = 0;
        if (!*pins_.bvalid && !responses_.empty() &&
            dram.monitor.cycle + 1 >= responses_.front().ready && !dram.jitter()) {
            *pins_.bresp = responses_.front().code;
            *pins_.bvalid = 1;
            responses_.pop_front();
        }
        if (!queue_.empty() && !buffer_.empty()) store(dram);
        if (aw_) {
            queue_.push_back(dram.accept("m_axi_0_aw", head_, 0, *stats));
            stats->write_bursts++;
        }
        if (w_) buffer_.push_back(beat_);
        const bool full = queue_.size() + responses_.size() >= dram.config.outstanding;
        *pins_.awready = !full && !dram.jitter();
        *pins_.wready = buffer_.size() < kWriteBuffer && !dram.jitter();
    }

  private:
    void store(Dram& dram) {
        Burst& burst = queue_.front();
        if (dram.faulty(true, 0, stored_, kFaultHang) || !dram.take_beat(burst.first)) return;
        const WriteBeat beat = buffer_.front();
        buffer_.pop_front();
        if (bool(beat.last) != (burst.beats == 1))
            dram.monitor.report(beat.last ? "m_axi_0_wlast before the last beat of the burst"
                                          : "m_axi_0_wlast missing on the last beat of the burst");
        if (dram.faulty(true, 0, stored_, kFaultResponse)) burst.fault = true;
        if (!burst.decode_error) {
            uint8_t* to = dram.memory + (burst.address - dram.config.base);
            const uint8_t* from = reinterpret_cast<const uint8_t*>(beat.data);
            if (beat.strobe == 0xFFFF)
                std::memcpy(to, from, kBeat);
            else
                for (int i = 0; i < kBeat; i++)
                    if (beat.strobe >> i & 1) to[i] = from[i];
        }
        burst.first = false;
        burst.address += kBeat;
        stored_++;
        stats->write_beats++;
        if (--burst.beats) return;
        const uint8_t code = burst.decode_error ? kDecErr
                             : burst.fault      ? uint8_t(dram.fault.response)
                                                : kOkay;
        if (code != kOkay) stats->error_responses++;
        // Stored one edge after the W handshake at the earliest, hence the -1.
        responses_.push_back(
            {dram.monitor.cycle + dram.config.write_latency - 1 + dram.extra_latency(), code});
        queue_.pop_front();
    }
};
