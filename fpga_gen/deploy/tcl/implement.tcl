# Synthesis, placement, routing, timing check, results (UG904, UG906).

namespace eval ::fpga_gen {
    # Strategies of implementation, one after the other until the timing is met (UG904, appendix
    # "Implementation Categories, Strategy Descriptions, and Directive Mapping"): all optimise
    # physically behind placement and routing. The worst paths of these engines are short in logic
    # and long in wires, so the second expects longer nets than there are, and the third spreads
    # what is dense. Blocks have no place of their own: the array fills the device.
    variable strategies {Performance_ExplorePostRoutePhysOpt Performance_NetDelay_high
        Congestion_SpreadLogic_high}

    proc finish_run {run} {
        wait_on_run $run
        if {[get_property PROGRESS [get_runs $run]] ne "100%"} {
            error "$run ended with '[get_property STATUS [get_runs $run]]'"
        }
    }

    # Worst slack in ns; an empty design has none.
    proc worst_slack {kind} {
        set paths [get_timing_paths -delay_type $kind -max_paths 1]
        if {[llength $paths] == 0} {
            error "the implemented design has no timing paths"
        }
        return [get_property SLACK [lindex $paths 0]]
    }

    # Places and routes until setup and hold are met or no strategy is left; opens the design and
    # returns {setup hold}, the slacks in ns of the last one tried.
    proc place_and_route {jobs} {
        variable strategies
        foreach strategy $strategies {
            if {$strategy ne [lindex $strategies 0]} {
                puts "fpga-gen: timing is missed by [expr {-min($setup, $hold)}] ns: $strategy"
                close_design
                reset_run impl_1
            }
            set_property strategy $strategy [get_runs impl_1]
            launch_runs impl_1 -to_step write_bitstream -jobs $jobs
            finish_run impl_1
            open_run impl_1
            set setup [worst_slack max]
            set hold [worst_slack min]
            if {$setup >= 0 && $hold >= 0} {
                break
            }
        }
        return [list $setup $hold]
    }

    proc implement {jobs out} {
        variable design
        variable clock_hz
        step "synthesise"
        launch_runs synth_1 -jobs $jobs
        finish_run synth_1
        step "place and route"
        lassign [place_and_route $jobs] setup hold

        step "write reports"
        report_utilization -file $out/utilisation.rpt
        report_timing_summary -file $out/timing.rpt
        report_power -file $out/power.rpt
        set facts [open $out/facts.txt w]
        puts $facts "vivado [version -short]"
        puts $facts "clock_hz $clock_hz"
        close $facts

        step "check timing"
        if {$setup < 0 || $hold < 0} {
            error "timing is not met at $clock_hz Hz: setup slack $setup ns, hold slack $hold ns"
        }

        step "copy bitstream and hardware hand-off"
        file copy -force [get_property DIRECTORY [get_runs impl_1]]/${design}_wrapper.bit \
            $out/$design.bit
        # The folder of generated files is <project>.gen, before Vivado 2020.2 <project>.srcs.
        set folder [get_property DIRECTORY [current_project]]
        set found [glob -nocomplain $folder/$design.{gen,srcs}/*/bd/$design/hw_handoff/$design.hwh]
        if {[llength $found] == 0} {
            error "no $design.hwh below $folder"
        }
        file copy -force [lindex $found 0] $out/$design.hwh
    }
}
