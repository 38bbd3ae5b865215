// Simulation shell: clock, reset, registers and DRAM around the verilated design, as a C library.
//
// `pins.h` is generated beside the model: it names the model's class and binds its ports.
// One call of `Shell::step` is one rising edge of clk; all functions are to be called from one thread.
#include <memory>
#include <new>

#include "axi_ports.h"
#include "pins.h"
#include "verilated.h"
#include "verilated_syms.h"
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif

enum StopReason : int {
    kStopLimit = 0,
    kStopInterrupt = 1,
    kStopLayer = 2,
    kStopProtocol = 3,
    kStopFinish = 4,
};

namespace {

struct LiteResponse {
    uint32_t data;
    uint8_t code;
    bool operator==(const LiteResponse& o) const { return data == o.data && code == o.code; }
};

class Shell {
    std::unique_ptr<VerilatedContext> context_{new VerilatedContext};
    std::unique_ptr<Model> model_;
    Dram dram_;
    ReadPort<AxiAddress> reads_[kReadPorts];
    WritePort<AxiAddress> write_;
    PortStats stats_[kReadPorts]{};
    LitePins lite_{};
    StableCheck<LiteResponse> stable_b_, stable_r_;
    bool lite_active_ = false;
    int next_ = 0;                   // port served first; kReadPorts: the write port
#if VM_TRACE
    std::unique_ptr<VerilatedVcdC> trace_;
#endif

  public:
    Shell(const DramConfig& config, uint8_t* memory) : dram_(config, memory) {
        model_.reset(new Model{context_.get(), "TOP"});
        ReadPins<AxiAddress> reads[kReadPorts];
        WritePins<AxiAddress> write;
        bind_pins(*model_, reads, write, lite_);
        for (int k = 0; k < kReadPorts; k++) reads_[k].bind(k, reads[k], &stats_[k]);
        write_.bind(write, &stats_[0]);
    }
    ~Shell() {
        model_->final();
#if VM_TRACE
        if (trace_) trace_->close();
#endif
    }

    uint64_t cycle() const { return dram_.monitor.cycle; }
    Dram& dram() { return dram_; }
    const PortStats& stats(int port) const { return stats_[port]; }
    bool interrupt() const { return interrupt_of(*model_); }
    VerilatedContext& context() { return *context_; }

    int layer() const {
#if FG_HAS_LAYER
        return model_->debug_layer;
#else
        return -1;
#endif
    }

    bool trace(const char* path) {
#if VM_TRACE
        context_->traceEverOn(true);
        trace_.reset(new VerilatedVcdC);
        model_->trace(trace_.get(), 99);
        trace_->open(path);
        return trace_->isOpen();
#else
        (void)path;
        return false;
#endif
    }

    void edge(bool driven) {
        model_->clk = 0;
        model_->eval();
        dump(0);
        if (driven) sample();
        model_->clk = 1;
        model_->eval();
        dump(1);
        if (driven) update();
        dram_.monitor.cycle++;
    }

    void reset(int cycles) {
        model_->rst = 1;
        for (auto& port : reads_) port.reset();
        write_.reset();
        *lite_.awvalid = *lite_.wvalid = *lite_.bready = *lite_.arvalid = *lite_.rready = 0;
        stable_b_.reset(), stable_r_.reset();
        for (int i = 0; i < cycles; i++) edge(false);
        if (any_valid()) dram_.monitor.report("a valid of the AXI masters is high in reset");
        model_->rst = 0;
    }

    StopReason run(uint64_t cycles, bool until_interrupt, bool until_layer) {
#if FG_HAS_LAYER
        const unsigned layer = model_->debug_layer;
#endif
        for (uint64_t i = 0;; i++) {
            if (!dram_.monitor.error.empty()) return kStopProtocol;
            if (context_->gotFinish()) return kStopFinish;
            if (until_interrupt && interrupt_of(*model_)) return kStopInterrupt;
#if FG_HAS_LAYER
            if (until_layer && model_->debug_layer != layer) return kStopLayer;
#else
            (void)until_layer;
#endif
            if (i == cycles) return kStopLimit;
            edge(true);
        }
    }

    // AXI4-Lite accesses: the response code, or -1 when the handshakes take more than `limit` cycles.
    int write_register(uint32_t address, uint32_t data, uint32_t limit) {
        *lite_.awaddr = LiteAddress(address), *lite_.wdata = data, *lite_.wstrb = 0xF;
        *lite_.awvalid = *lite_.wvalid = 1;
        uint32_t delay = dram_.extra_latency();
        lite_active_ = true;
        int response = -1;
        for (uint32_t i = 0; i < limit && response < 0; i++) {
            // Settled outputs are needed to see the handshakes of this edge.
            model_->clk = 0;
            *lite_.bready = !*lite_.awvalid && !*lite_.wvalid && (!delay || !delay--);
            model_->eval();
            const bool aw = *lite_.awvalid && *lite_.awready;
            const bool w = *lite_.wvalid && *lite_.wready;
            if (*lite_.bvalid && *lite_.bready) response = *lite_.bresp;
            if (*lite_.bvalid && (*lite_.awvalid || *lite_.wvalid))
                dram_.monitor.report("s_axi_bvalid before the write was accepted");
            edge(true);
            if (aw) *lite_.awvalid = 0;
            if (w) *lite_.wvalid = 0;
        }
        *lite_.awvalid = *lite_.wvalid = *lite_.bready = 0;
        lite_active_ = false;
        return response;
    }

    int read_register(uint32_t address, uint32_t* data, uint32_t limit) {
        *lite_.araddr = LiteAddress(address);
        *lite_.arvalid = 1;
        uint32_t delay = dram_.extra_latency();
        lite_active_ = true;
        int response = -1;
        for (uint32_t i = 0; i < limit && response < 0; i++) {
            model_->clk = 0;
            *lite_.rready = !*lite_.arvalid && (!delay || !delay--);
            model_->eval();
            const bool ar = *lite_.arvalid && *lite_.arready;
            if (*lite_.rvalid && *lite_.arvalid)
                dram_.monitor.report("s_axi_rvalid before the read was accepted");
            if (*lite_.rvalid && *lite_.rready) response = *lite_.rresp, *data = *lite_.rdata;
            edge(true);
            if (ar) *lite_.arvalid = 0;
        }
        *lite_.arvalid = *lite_.rready = 0;
        lite_active_ = false;
        return response;
    }

  private:
    void dump(int half) {
#if VM_TRACE
        if (trace_) trace_->dump(dram_.monitor.cycle * 2 + half);
#else
        (void)half;
#endif
    }
    void sample() {
        for (auto& port : reads_) port.sample(dram_);
        write_.sample(dram_);
        if (!lite_active_) return;
        stable_b_.check(dram_.monitor, "s_axi_b", *lite_.bvalid, *lite_.bready,
                        {0, *lite_.bresp});
        stable_r_.check(dram_.monitor, "s_axi_r", *lite_.rvalid, *lite_.rready,
                        {*lite_.rdata, *lite_.rresp});
    }
    void update() {
        dram_.begin_cycle();
        // Round robin: the first port that the DRAM had no bandwidth for comes first next time.
        int first_denied = -1;
        for (int i = 0, k = next_; i <= kReadPorts; i++, k = k == kReadPorts ? 0 : k + 1) {
            const bool denied = k == kReadPorts ? write_.update(dram_) : reads_[k].update(dram_);
            if (denied && first_denied < 0) first_denied = k;
        }
        if (first_denied >= 0) next_ = first_denied;
    }
    bool any_valid() {
        bool any = write_.requesting();
        for (auto& port : reads_) any |= port.requesting();
        return any;
    }
};

// The shell behind a handle; Verilator's library finds the design's scopes through the thread's
// current context, so with several designs loaded it has to be set at every entry.
Shell* enter(void* shell) {
    Shell* entered = static_cast<Shell*>(shell);
    Verilated::threadContextp(&entered->context());
    return entered;
}

}  // namespace

extern "C" {

uint32_t fg_ports() { return kReadPorts; }
uint32_t fg_has_layer() { return FG_HAS_LAYER; }
uint32_t fg_config_bytes() { return sizeof(DramConfig); }

void* fg_create(const DramConfig* config, uint8_t* memory) {
    return new (std::nothrow) Shell(*config, memory);
}
void fg_destroy(void* shell) { delete enter(shell); }
void fg_reset(void* shell, int cycles) { enter(shell)->reset(cycles); }

int fg_run(void* shell, uint64_t cycles, int until_interrupt, int until_layer) {
    return enter(shell)->run(cycles, until_interrupt, until_layer);
}
uint64_t fg_cycle(void* shell) { return enter(shell)->cycle(); }
int fg_interrupt(void* shell) { return enter(shell)->interrupt(); }
int fg_layer(void* shell) { return enter(shell)->layer(); }
const char* fg_error(void* shell) {
    return enter(shell)->dram().monitor.error.c_str();
}
int fg_write(void* shell, uint32_t address, uint32_t data, uint32_t limit) {
    return enter(shell)->write_register(address, data, limit);
}
int fg_read(void* shell, uint32_t address, uint32_t* data, uint32_t limit) {
    return enter(shell)->read_register(address, data, limit);
}
void fg_inject(void* shell, const Fault* fault) {
    enter(shell)->dram().fault = *fault;
}
void fg_stats(void* shell, PortStats* out) {
    for (int k = 0; k < kReadPorts; k++) out[k] = enter(shell)->stats(k);
}
int fg_trace(void* shell, const char* path) {
    return enter(shell)->trace(path);
}

// The index-th memory array that the model exports (public_flat_rd), in order of its hierarchical
// name: fills name (of `room` bytes), rows and bytes per row; null after the last.
const void* fg_memory(void* shell, uint32_t index, char* name, uint32_t room, uint32_t* rows,
                      uint32_t* row_bytes) {
    auto& context = enter(shell)->context();
    for (const auto& scope : *context.scopeNameMap()) {
        if (!scope.second->varsp()) continue;
        for (const auto& item : *scope.second->varsp()) {
            const VerilatedVar& var = item.second;
            if (var.udims() != 1 || index--) continue;
            std::snprintf(name, room, "%s.%s", scope.first, item.first);
            *rows = uint32_t(var.elements(1));
            *row_bytes = uint32_t(var.totalSize() / *rows);
            return var.datap();
        }
    }
    return nullptr;
}

}  // extern "C"
