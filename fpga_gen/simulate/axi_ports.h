// AXI4 ports of the DRAM model: one read port per master, one write port. See dram.h for the timing.
#pragma once

#include <deque>
#include <string>

#include "dram.h"

constexpr int kWriteBuffer = 32;     // beats between the W channel and the DRAM

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

struct WriteBeat {
    uint32_t data[4];
    uint16_t strobe;
    uint8_t last;
    bool operator==(const WriteBeat& o) const {
        return !std::memcmp(data, o.data, sizeof data) && strobe == o.strobe && last == o.last;
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
    bool stray_ = false;             // the beat on R, if there is one, belongs to no burst

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
    // True when a beat was due but the DRAM had no bandwidth for it; so for the write port.
    bool update(Dram& dram) {
        if (r_) {
            *pins_.rvalid = 0;
            if (stray_) dram.fault.kind = kNoFault;
            else stats->read_beats++;
            if (first_) {
                const uint64_t latency = dram.monitor.cycle - first_accepted_;
                if (!stats->read_bursts++ || latency < stats->min_read_latency)
                    stats->min_read_latency = latency;
                if (latency > stats->max_read_latency) stats->max_read_latency = latency;
            }
        }
        const bool denied = !queue_.empty() && !*pins_.rvalid && !serve(dram);
        if (queue_.empty() && !ar_ && !*pins_.rvalid &&
            dram.faulty(false, index_, served_, kFaultSurplus)) {
            *pins_.rvalid = *pins_.rlast = 1;
            *pins_.rresp = kOkay;
            stray_ = true, first_ = false;
        }
        if (ar_)
            queue_.push_back(
                dram.accept(channel_.c_str(), head_, dram.config.read_latency, *stats));
        *pins_.arready = queue_.size() < dram.config.outstanding && !dram.jitter();
        return denied;
    }

  private:
    bool serve(Dram& dram) {
        Burst& burst = queue_.front();
        // A beat put on R now is handed over at the next edge.
        if (dram.monitor.cycle + 1 < burst.ready || dram.jitter()) return true;
        if (dram.faulty(false, index_, served_, kFaultHang)) return true;
        if (!dram.take_beat(burst.first)) return false;
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
        *pins_.rlast = (burst.beats == 1) != dram.faulty(false, index_, served_, kFaultLast);
        *pins_.rvalid = 1;
        stray_ = false;
        first_ = burst.first;
        first_accepted_ = burst.accepted;
        burst.first = false;
        burst.address += kBeat;
        served_++;
        const bool cut = dram.faulty(false, index_, served_ - 1, kFaultShort);
        if (cut) *pins_.rlast = 1;
        if (!--burst.beats || cut) queue_.pop_front();
        return true;
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
    bool stray_ = false;             // the response on B, if there is one, belongs to no burst

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
    bool update(Dram& dram) {
        if (b_) {
            *pins_.bvalid = 0;
            if (stray_) dram.fault.kind = kNoFault;
        }
        const bool denied = !queue_.empty() && !buffer_.empty() && !store(dram);
        if (!*pins_.bvalid && !responses_.empty() &&
            dram.monitor.cycle + 1 >= responses_.front().ready && !dram.jitter()) {
            *pins_.bresp = responses_.front().code;
            *pins_.bvalid = 1;
            stray_ = false;
            responses_.pop_front();
        }
        if (!*pins_.bvalid && queue_.empty() && responses_.empty() && !aw_ &&
            dram.faulty(true, 0, stored_, kFaultSurplus)) {
            *pins_.bresp = kOkay;
            *pins_.bvalid = stray_ = true;
        }
        if (aw_) {
            queue_.push_back(dram.accept("m_axi_0_aw", head_, 0, *stats));
            stats->write_bursts++;
        }
        if (w_) buffer_.push_back(beat_);
        const bool full = queue_.size() + responses_.size() >= dram.config.outstanding;
        *pins_.awready = !full && !dram.jitter();
        *pins_.wready = buffer_.size() < kWriteBuffer && !dram.jitter();
        return denied;
    }

  private:
    bool store(Dram& dram) {
        Burst& burst = queue_.front();
        if (dram.faulty(true, 0, stored_, kFaultHang)) return true;
        if (!dram.take_beat(burst.first)) return false;
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
        if (--burst.beats) return true;
        const uint8_t code = burst.decode_error ? kDecErr
                             : burst.fault      ? uint8_t(dram.fault.response)
                                                : kOkay;
        if (code != kOkay) stats->error_responses++;
        // Stored one edge after the W handshake at the earliest, hence the -1.
        responses_.push_back(
            {dram.monitor.cycle + dram.config.write_latency - 1 + dram.extra_latency(), code});
        queue_.pop_front();
        return true;
    }
};
