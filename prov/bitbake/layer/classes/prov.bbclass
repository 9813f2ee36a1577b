# Records every task of a build: INHERIT += "prov" in local.conf.
#
# Event handlers and nothing else. No task gets a function or a variable from here, so that no task's hash depends
# on it, and parsing a recipe costs nothing more.

# The store, and the program that writes it: a path, or a name that is looked for in the PATH of whoever runs bitbake.
PROV_STORE ?= "${TOPDIR}/.prov"
PROV_COMMAND ?= "prov"

# Tasks that people use by hand, and that make nothing.
PROV_IGNORED_TASKS ?= "do_clean do_cleansstate do_cleanall do_listtasks do_checkuri do_checkpkg do_devshell \
    do_devpyshell do_pydevshell do_menuconfig do_diffconfig do_savedefconfig do_buildclean"

# "1": shared state is kept in the store as trees, and taken from there.
PROV_CACHE ?= "0"

# "1": recipes' sysroots are composed from the store; and what only looks (bitbake -n, -S) takes nothing away.
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
