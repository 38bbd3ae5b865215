# Stand-ins for the commands of Vivado that the project's Tcl uses: each call is written as one line
# of JSON, and what later commands need is returned. Anything else is an unknown command.
#
# Environment: RECORD (file to write), PORTS (pins of the top module), SCRIPT (build.tcl), RUN
# (its folder), and FAIL for a run that goes wrong: synthesis, board, timing, hold, ip,
# files, or timing_once: with the first strategy.

set record [open $env(RECORD) w]

proc json_line {words} {
    set items {}
    foreach word $words {
        lappend items "\"[string map {\\ \\\\ \" \\\" \n \\n \t \\t} $word]\""
    }
    return "\[[join $items ,]\]"
}

proc note {words} {
    puts $::record [json_line $words]
    flush $::record
}

set routed 0

proc fails {what} { expr {[info exists ::env(FAIL)] && $::env(FAIL) eq $what} }

proc returning {name body} {
    proc $name {args} "note \[linsert \$args 0 $name\]\n$body"
}

namespace eval ipx {}
foreach name {set_property update_compile_order update_ip_catalog close_project validate_bd_design
        save_bd_design connect_bd_net connect_bd_intf_net assign_bd_address exclude_bd_addr_seg
        apply_bd_automation create_bd_design wait_on_run open_run reset_run close_design add_files report_utilization
        report_timing_summary report_power ipx::remove_all_bus_interface ipx::remove_memory_map
        ipx::remove_address_space ipx::create_xgui_files ipx::update_checksums
        ipx::check_integrity ipx::save_core} {
    returning $name {}
}
foreach name {get_bd_pins get_bd_intf_pins get_bd_addr_spaces get_bd_addr_segs get_files} {
    returning $name {return [lindex $args end]}
}
returning current_fileset {return sources_1}
returning current_project {return project}
returning get_runs {return [lindex $args end]}
returning version {return 2023.1}
returning create_bd_cell {return [lindex $args end]}
returning create_project {
    set ::project_folder [lindex $args 2]
    file mkdir $::project_folder
}
returning get_board_parts {
    if {[fails board]} {return {}}
    set stem [string trimright [lindex $args end] *]
    return [list ${stem}1.0 ${stem}1.1]
}
returning get_ipdefs {
    if {[fails ip]} {return {}}
    regexp {xilinx.com:ip:([a-z0-9_]+):} [lindex $args end] -> name
    return xilinx.com:ip:$name:9.9
}
returning generate_target {
    set folder $::project_folder/fpga_gen.gen/sources_1/bd/fpga_gen/hw_handoff
    file mkdir $folder
    close [open $folder/fpga_gen.hwh w]
}
returning make_wrapper {return wrapper.v}
returning launch_runs {
    if {[lindex $args 0] eq "impl_1"} {incr ::routed}
    file mkdir $::project_folder/impl_1
    close [open $::project_folder/impl_1/fpga_gen_wrapper.bit w]
}
returning get_timing_paths {return [list path_[lindex $args [expr {[lsearch $args -delay_type] + 1}]]]}
returning get_property {
    lassign $args name object
    switch $name,$object {
        PROGRESS,synth_1 {return [expr {[fails synthesis] ? "42%" : "100%"}]}
        PROGRESS,impl_1 {return 100%}
        STATUS,synth_1 {return "synth_design ERROR"}
        SLACK,path_max {
            set missed [expr {[fails timing] || ([fails timing_once] && $::routed == 1)}]
            return [expr {$missed ? -0.25 : 0.1}]
        }
        SLACK,path_min {return [expr {[fails hold] ? -0.01 : 0.02}]}
        DIRECTORY,impl_1 {return $::project_folder/impl_1}
        DIRECTORY,project {return $::project_folder}
    }
    if {$name eq "CONFIG.FREQ_HZ"} {return 299997009}
    if {$name eq "name"} {return $object}
    error "get_property $args: not foreseen"
}

# ipx objects are named by path: core, core/m_axi_0, core/m_axi_0/AWADDR, ...
returning ipx::package_project {
    file mkdir [lindex $args [expr {[lsearch $args -root_dir] + 1}]]
    return core
}
returning ipx::current_core {return core}
returning ipx::get_ports {return $::env(PORTS)}
returning ipx::get_memory_maps {return s_axi}
returning ipx::get_address_spaces {return m_axi_0}
foreach name {add_bus_interface add_port_map add_bus_parameter add_memory_map add_address_block} {
    returning ipx::$name {return [lindex $args 1]/[lindex $args 0]}
}
returning ipx::add_address_space {return [lindex $args 1]/space:[lindex $args 0]}

# Files of the IP: group:synthesis, file:<name>.
returning ipx::get_file_groups {return [expr {[fails files] ? {} : "group:synthesis"}]}
returning ipx::add_file {return file:[lindex $args 0]}

set argv [list $env(RUN) 3]
source $env(SCRIPT)
