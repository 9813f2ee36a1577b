"""Fuzzers for every parser of untrusted input: from a remote, another person's store, a task, a
source archive, a shared cache or the environment.

Each parser returns a value or raises its one documented error (`-`: it always returns a value). A
test compares this table with the tables `PARSERS`, which contain the parsers and the generators of
valid input.

prov/store
    objects.decode_tree                          ValueError
    objects.decode_commit                        ValueError
    pack_ranges.open_entry                       ValueError
    pack_ranges.PackIndex                        StoreError
    packs.PackFile                               StoreError
    verify.salvage                               -
    verify.loose_objects                         -
    verify.malformed                             -
    odb.read, tree, commit                       StoreError
    deltas.apply                                 -
    rawrefs.read_refs                            -
    refs.RefStore.get (packed)                   StoreError
    refs.RefStore.get (loose)                    StoreError

prov/worktree
    attributes.read_listing (lines)              StoreError
    attributes.read_listing (trees)              StoreError
    places.tokenise, relocate, fits              -
    exclude.Exclude                              CaptureError

prov/remote
    publication.decode_publication               ValueError
    trust.judge                                  Malformed
    wellformed.checked_entries                   BadObject
    wellformed.checked_commit                    BadObject
    wellformed.check_listing                     BadObject
    manifest.decode_manifest                     ValueError
    settings.read_remotes                        RemoteError
    address.parse_address                        RemoteError
    address.check_name                           RemoteError
    address.git_dir_of                           -
    answers                                      -

prov/reapi
    address.Address.parse                        ProvError
    transfer.listed                              ServerFailed

prov/records, prov/recipes, prov/tasks
    definition.read_definition                   StoreError
    recorded.read_task, own_inputs, make_node    StoreError
    recorded.read_task (texts of edges)          StoreError
    recorded.read_task (tree of inputs)          StoreError
    record.Records (commit)                      StoreError
    builds.decode_tasks                          StoreError
    builds.BuildList (texts)                     StoreError
    builds.BuildList (tree of tasks)             StoreError
    lines.decode_lines                           -
    shell.names_in                               -
    variables.expand                             RecipeError
    recipe (TOML)                                ProvError
    project (TOML)                               ProvError
    project (script_file)                        RecipeError
    keys.TaskKey.parse                           ProvError
    files.parse_size                             ProvError

prov/history, prov/query
    query.make_in_memory                         -
    query.RunLine.parse                          -
    directories.find_directory                   ProvError
    names.find_run, last_run                     ProvError
    file_names.find_file                         ProvError
    builds.find_build                            ProvError
    builds.is_build_name                         -
    labels.set_label                             ProvError
    evidence.attested_run                        ProvError
    refs.parse_ref                               -
    bisect_log.Log.read                          ProvError
    evidence, attestation (definition)           ProvError
    evidence, attestation (record)               ProvError
    evidence.public_address                      -
    dsse.load_signer                             ProvError
    file_versions.blame_lines                    -

prov/reads, prov/dependencies, prov/sbom
    config.log                                   -
    config.cache                                 -
    CMakeCache.txt                               -
    meson-log.txt                                -
    depfile                                      -
    ninja deps                                   -
    ELF symbols                                  -
    archive members                              -
    license tags                                 -
    license expression                           -

prov/bitbake, prov/sysroot, prov/files, prov/text
    signature.read_signature, write_inputs       BitBakeError
    signature.key_of                             BitBakeError
    bitbake.build_record.read_hashes             StoreError
    equivalence.read_lines                       -
    state.State.read                             -
    state.read_merges                            -
    files.read_cache                             -
    text.printable, name_text                    -
"""
