# Processor, reset, interrupt controller and one SmartConnect per port around the accelerator.
#
# Every AXI master of the accelerator has an HP port of its own. The interrupt goes through an AXI
# interrupt controller because PYNQ only knows interrupts behind one.

namespace eval ::fpga_gen {

    proc connect_interfaces {master slave} {
        connect_bd_intf_net [get_bd_intf_pins $master] [get_bd_intf_pins $slave]
    }

    proc connect_pins {driver args} {
        foreach sink $args {
            connect_bd_net [get_bd_pins $driver] [get_bd_pins $sink]
        }
    }

    proc add_cell {name ip {settings {}}} {
        set cell [create_bd_cell -type ip -vlnv $ip $name]
        if {[llength $settings]} {
            set_property -dict $settings $cell
        }
    }

    # Cell `clocks`: twice the engine's clock on clk_out1 and the engine's clock, which is returned,
    # on clk_out2, both from one output of one MMCM or PLL. "Buffer" with matched routing makes both
    # buffers BUFGCE_DIV, dividing by 1 and by 2 (PG065, "Auto Buffer Selection"), the circuit that
    # PG338 recommends ("Reference Clock Generation"): every second edge of one is the other's, with
    # little skew. Nothing gates these clocks, so their buffers need no CE. The settings are those of
    # AMD's design for its DPU (Xilinx/Vitis-AI, dsa/DPU-TRD/prj/Vivado/scripts/base/trd_bd.tcl) but
    # for the input, which comes from the processor's BUFG_PS and takes no buffer here.
    proc add_clocks {source reset clock_mhz} {
        set fast_mhz [expr {2.0 * $clock_mhz}]
        add_cell clocks [newest_ip clk_wiz] [list \
            CONFIG.PRIMITIVE Auto CONFIG.PRIM_SOURCE No_buffer CONFIG.NUM_OUT_CLKS 2 \
            CONFIG.CLKOUT1_DRIVES Buffer CONFIG.CLKOUT1_MATCHED_ROUTING true \
            CONFIG.CLKOUT1_REQUESTED_OUT_FREQ $fast_mhz \
            CONFIG.CLKOUT2_USED true \
            CONFIG.CLKOUT2_DRIVES Buffer CONFIG.CLKOUT2_MATCHED_ROUTING true \
            CONFIG.CLKOUT2_REQUESTED_OUT_FREQ $clock_mhz \
            CONFIG.USE_LOCKED true CONFIG.USE_RESET true \
            CONFIG.RESET_TYPE ACTIVE_LOW CONFIG.RESET_PORT resetn]
        connect_pins $source clocks/clk_in1
        connect_pins $reset clocks/resetn
        return clocks/clk_out2
    }

    proc block_design {project_folder ip_folder} {
        foreach parameter {vendor library name version cell design processor clock_mhz ports hp_ports
                hp_bits control_base control_range interrupt_base interrupt_range dram_bytes
                double_clock} {
            variable $parameter
        }
        step "create the block design"
        open_project $design $project_folder
        set_property ip_repo_paths $ip_folder [current_project]
        update_ip_catalog
        create_bd_design $design
        ${processor}::create $clock_mhz $hp_ports $hp_bits
        set clock [${processor}::clock]
        if {$double_clock} {
            set clock [add_clocks $clock [${processor}::reset] $clock_mhz]
        }

        add_cell $cell $vendor:$library:$name:$version
        add_cell reset [newest_ip proc_sys_reset]
        add_cell control_bus [newest_ip smartconnect] {CONFIG.NUM_SI 1 CONFIG.NUM_MI 2}
        add_cell interrupts [newest_ip axi_intc] {CONFIG.C_IRQ_CONNECTION 1}

        connect_pins $clock reset/slowest_sync_clk $cell/clk control_bus/aclk interrupts/s_axi_aclk
        connect_pins [${processor}::reset] reset/ext_reset_in
        if {$double_clock} {
            connect_pins clocks/clk_out1 $cell/clk_2x
            connect_pins clocks/locked reset/dcm_locked
        }
        connect_pins reset/peripheral_reset $cell/rst
        connect_pins reset/interconnect_aresetn control_bus/aresetn
        connect_pins reset/peripheral_aresetn interrupts/s_axi_aresetn
        connect_pins $cell/interrupt interrupts/intr
        connect_pins interrupts/irq [${processor}::interrupt]

        lassign [${processor}::control] master master_clock
        connect_pins $clock $master_clock
        connect_interfaces $master control_bus/S00_AXI
        connect_interfaces control_bus/M00_AXI $cell/s_axi
        connect_interfaces control_bus/M01_AXI interrupts/s_axi
        set space [get_bd_addr_spaces processor/Data]
        assign_bd_address -offset $control_base -range $control_range \
            -target_address_space $space [get_bd_addr_segs $cell/s_axi/Reg] -force
        assign_bd_address -offset $interrupt_base -range $interrupt_range \
            -target_address_space $space [get_bd_addr_segs interrupts/S_AXI/Reg] -force

        for {set k 0} {$k < $ports} {incr k} {
            set hp [lindex $hp_ports $k]
            lassign [${processor}::memory $hp] slave slave_clock
            add_cell memory_bus_$k [newest_ip smartconnect] {CONFIG.NUM_SI 1 CONFIG.NUM_MI 1}
            connect_pins $clock memory_bus_$k/aclk $slave_clock
            connect_pins reset/interconnect_aresetn memory_bus_$k/aresetn
            connect_interfaces $cell/m_axi_$k memory_bus_$k/S00_AXI
            connect_interfaces memory_bus_$k/M00_AXI $slave
            set space [get_bd_addr_spaces $cell/m_axi_$k]
            foreach segment [${processor}::dram_segments $hp $dram_bytes] {
                assign_bd_address -target_address_space $space [get_bd_addr_segs $segment] -force
            }
            foreach segment [${processor}::other_segments $hp] {
                if {[llength [get_bd_addr_segs -quiet $segment]]} {
                    exclude_bd_addr_seg -target_address_space $space [get_bd_addr_segs $segment]
                }
            }
        }

        step "validate the block design"
        validate_bd_design
        save_bd_design
        # Clocks are divided from a PLL's: what comes out is close to what was asked for.
        variable clock_hz [get_property CONFIG.FREQ_HZ [get_bd_pins $clock]]
        set file [get_files $design.bd]
        generate_target all $file
        make_wrapper -files $file -top -import -fileset sources_1
        set_property top ${design}_wrapper [current_fileset]
        update_compile_order -fileset sources_1
    }
}
