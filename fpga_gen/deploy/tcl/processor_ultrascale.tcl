# Processing system of Zynq UltraScale+ (PG201). HP port k is slave port GP<k+2>.

namespace eval ::fpga_gen::zynq_ultra_ps_e {

    proc create {clock_mhz hp_ports hp_bits} {
        set cell [create_bd_cell -type ip -vlnv [::fpga_gen::newest_ip zynq_ultra_ps_e] processor]
        apply_bd_automation -rule xilinx.com:bd_rule:zynq_ultra_ps_e \
            -config {apply_board_preset "1"} $cell
        set settings [list \
            CONFIG.PSU__FPGA_PL0_ENABLE 1 \
            CONFIG.PSU__CRL_APB__PL0_REF_CTRL__SRCSEL IOPLL \
            CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ $clock_mhz \
            CONFIG.PSU__USE__M_AXI_GP0 1 \
            CONFIG.PSU__USE__M_AXI_GP1 0 \
            CONFIG.PSU__USE__M_AXI_GP2 0 \
            CONFIG.PSU__MAXIGP0__DATA_WIDTH 32 \
            CONFIG.PSU__USE__IRQ0 1]
        foreach hp $hp_ports {
            set gp [expr {$hp + 2}]
            lappend settings CONFIG.PSU__USE__S_AXI_GP$gp 1 \
                CONFIG.PSU__SAXIGP${gp}__DATA_WIDTH $hp_bits
        }
        set_property -dict $settings $cell
    }

    proc clock {} { return processor/pl_clk0 }
    proc reset {} { return processor/pl_resetn0 }
    proc interrupt {} { return processor/pl_ps_irq0 }
    proc control {} { return {processor/M_AXI_HPM0_FPD processor/maxihpm0_fpd_aclk} }
    proc memory {hp} { return [list processor/S_AXI_HP${hp}_FPD processor/saxihp${hp}_fpd_aclk] }

    # DRAM lies in a low window of 2 GB and, beyond that, in a high one (UG1085, address map).
    proc dram_segments {hp dram_bytes} {
        set segments processor/SAXIGP[expr {$hp + 2}]/HP${hp}_DDR_LOW
        if {$dram_bytes > 0x80000000} {
            lappend segments processor/SAXIGP[expr {$hp + 2}]/HP${hp}_DDR_HIGH
        }
        return $segments
    }

    # What the accelerator must not reach through that port.
    proc other_segments {hp} {
        set gp [expr {$hp + 2}]
        return [list processor/SAXIGP$gp/HP${hp}_QSPI processor/SAXIGP$gp/HP${hp}_LPS_OCM]
    }
}
