# From the Verilog of a build directory to a bitstream. Not run on hardware.
#
#   vivado -mode batch -nolog -nojournal -source DIR/vivado/build.tcl -tclargs RUN_FOLDER JOBS
#
# RUN_FOLDER is emptied first; RUN_FOLDER/out holds the results when the script ends with status 0:
# bitstream, hardware hand-off, reports of utilisation, timing and power, and facts.txt.
# The only generated file is parameters.tcl; what its variables mean is said there.

namespace eval ::fpga_gen {
    variable here [file dirname [file normalize [info script]]]
    variable step 0
    variable steps 8
    variable double_clock 0 ;# parameters.tcl of an engine with a clk_2x says 1

    # A line that `fpga-gen bitstream` shows as progress.
    proc step {text} {
        variable step
        variable steps
        incr step
        puts "fpga-gen: step $step/$steps: $text"
    }

    # The newest version of an IP in the catalogue of this Vivado.
    proc newest_ip {name} {
        set found [get_ipdefs -all -quiet -filter \
            "VLNV =~ xilinx.com:ip:$name:* && UPGRADE_VERSIONS == \"\""]
        if {[llength $found] == 0} {
            error "the IP catalogue of this Vivado has no $name"
        }
        return [lindex $found end]
    }

    # A project for the board; its files are installed with Vivado or by its board store.
    proc open_project {name folder} {
        variable part
        variable board_part
        variable board_connections
        create_project -force $name $folder -part $part
        set boards [get_board_parts -quiet -latest_file_version "$board_part:*"]
        if {[llength $boards] == 0} {
            error "the board files of $board_part are not installed: Vivado Store, tab Boards"
        }
        set_property board_part [lindex $boards end] [current_project]
        if {$board_connections ne ""} {
            set_property board_connections $board_connections [current_project]
        }
    }

    proc build {run_folder jobs} {
        variable here
        file delete -force $run_folder
        file mkdir $run_folder/out
        package_ip $run_folder/package $run_folder/ip
        block_design $run_folder/project $run_folder/ip
        implement $jobs $run_folder/out
    }
}

foreach script {parameters package_ip processor_ultrascale processor_zynq7 block_design implement} {
    source $::fpga_gen::here/$script.tcl
}

if {[llength $argv] != 2} {
    puts "ERROR: \[fpga-gen 1-1\] usage: build.tcl -tclargs RUN_FOLDER JOBS"
    exit 2
}
if {[catch {::fpga_gen::build [file normalize [lindex $argv 0]] [lindex $argv 1]} message]} {
    puts "ERROR: \[fpga-gen 1-2\] $message"
    exit 1
}
puts "fpga-gen: complete"
