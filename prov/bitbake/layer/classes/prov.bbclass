# Records every task of a build. To enable it, add INHERIT += "prov" to local.conf.
#
# The class contains only event handlers and the variables that configure them. It adds no function and no variable to
# a task, so no task's hash depends on it, and parsing a recipe takes no longer.

# The store, and the program that writes it: a path, or a name in the PATH of the user that runs bitbake.
PROV_STORE ?= "${TOPDIR}/.prov"
PROV_COMMAND ?= "prov"

# Tasks that are not recorded: users run them by hand, and they produce no output.
PROV_IGNORED_TASKS ?= "do_clean do_cleansstate do_cleanall do_listtasks do_checkuri do_checkpkg do_devshell \
    do_devpyshell do_pydevshell do_menuconfig do_diffconfig do_savedefconfig do_buildclean"

# "1": keep shared state in the store as trees, and restore it from there. "both": also write sstate archives.
PROV_CACHE ?= "0"

# How many seconds a build waits at its start for shared state that other builds make, if they claim it at a remote
# (`prov remote add --claims`). The build makes the rest itself.
PROV_WAIT ?= "0"

# "1": compose recipes' sysroots from the store. `bitbake -n` and `bitbake -S` then remove no staged files.
PROV_SYSROOTS ?= "0"

addhandler prov_configuration_handler
prov_configuration_handler[eventmask] = "bb.event.ConfigParsed"
python prov_configuration_handler() {
    from provlayer import cache, hooks, names, stale
    names.configure(d)
    cache.configure(d)
    stale.configure(d)
    hooks.configure(d)
}

addhandler prov_build_handler
prov_build_handler[eventmask] = "bb.event.BuildStarted bb.event.BuildCompleted bb.cooker.CookerExit \
    bb.event.HeartbeatEvent \
    bb.runqueue.runQueueTaskStarted bb.runqueue.runQueueTaskCompleted bb.runqueue.runQueueTaskFailed \
    bb.runqueue.runQueueTaskSkipped bb.runqueue.sceneQueueTaskStarted bb.runqueue.sceneQueueTaskCompleted"
python prov_build_handler() {
    import provlayer.server
    provlayer.server.handle(e, d)
}

addhandler prov_task_handler
prov_task_handler[eventmask] = "bb.build.TaskStarted bb.build.TaskSucceeded bb.build.TaskFailed \
    bb.build.TaskFailedSilent"
python prov_task_handler() {
    import provlayer.task
    provlayer.task.handle(e, d)
}
