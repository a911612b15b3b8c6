# shellcheck shell=bash disable=SC2034,SC2154
# Where statistics, trainings and decodings run. As in ESPnet's cmd.sh there is a command for each, called
#
#   COMMAND [--gpu N] [JOB=1:n] LOG PROGRAM ARGUMENT...
#
# local: utils/run_local.sh on this machine. slurm, sge, ssh: Kaldi's slurm.pl, queue.pl and ssh.pl, which ESPnet's users
# have in their recipes' utils; pip doesn't bring them. Settings of the cluster (partitions, memory, time) belong into
# conf/slurm.conf or conf/queue.conf in --workdir. Trainings go through ESPnet's own launcher, espnet2.bin.launch.
#
#   --cmd_backend slurm --ngpu 4 --num_nodes 2        8 GPUs of two machines that Slurm gives
#   --host gpu1:0:1,gpu2:0:1                          4 GPUs of two machines by ssh, with the same folders mounted
#   --ngpu 4                                          4 GPUs of this machine
#   --num_processes 2                                 2 processes on its CPU
#
# ESPnet's batch (batch_bins, batch_size) is what all processes of a training get together: how many they are changes
# the speed, and results by no more than rounding. Ctrl-C ends what runs here; a job that waits or runs in a queue goes
# on and is ended with the queue's command (scancel, qdel). The next run of the recipe finds it training and says so.

option cmd_backend local "where jobs run: local, slurm, sge or ssh (see egs/TEMPLATE/utils/cmd.sh)"
option train_cmd "" "command for statistics; empty: the backend's"
option cuda_cmd "" "command for trainings, as 'slurm.pl --mem 32G'; empty: the backend's"
option decode_cmd "" "command for decoding; empty: the backend's"
option host "" "machines of each training, reached by ssh: 'host1,host2', or with the GPUs 'host1:0:1,host2:0'"
option num_processes 1 "processes of each training on the CPU"

# train_cmd, cuda_cmd and decode_cmd; environment, to put before a program that runs elsewhere
check_commands() {
    local default name
    one_of cmd_backend local slurm sge ssh
    whole_number ngpu num_nodes num_processes threads
    at_least_one num_processes
    case ${cmd_backend} in
        local) default=run_local.sh ;;
        slurm) default="slurm.pl --config $(slurm_conf)" ;;
        sge) default=queue.pl ;;
        ssh) default=ssh.pl ;;
    esac
    export PATH="${template}/../utils:${PATH}"
    for name in train_cmd cuda_cmd decode_cmd; do
        printf -v "${name}" '%s' "${!name:-${default}}"
        command -v "${!name%% *}" > /dev/null || die "--${name}: there is no ${!name%% *} on the PATH. Kaldi has it" \
            "(egs/wsj/s5/utils and utils/parallel of github.com/kaldi-asr/kaldi), and so has an ESPnet recipe;" \
            "add that folder to PATH, or give --${name} '/its/folder/${!name}'"
    done
    if [ "${num_processes}" -gt 1 ] && { [ "${ngpu}" -gt 0 ] || [ "${num_nodes}" -gt 1 ] || [ -n "${host}" ]; }; then
        die "--num_processes is for the CPU of one machine; on GPUs there is one process each (--ngpu)"
    fi
    if [ "${num_nodes}" -gt 1 ] && [ -n "${host}" ]; then die "--host names the machines; leave --num_nodes away"; fi
    if [ "${num_nodes}" -gt 1 ] && [[ ${cuda_cmd} == run_local.sh* ]]; then
        die "--num_nodes ${num_nodes} needs a scheduler (--cmd_backend slurm), or name the machines with --host"
    fi
}

slurm_conf() {
    if [ -f "${workdir}/conf/slurm.conf" ]; then echo conf/slurm.conf; else echo "${root}/egs/TEMPLATE/utils/slurm.conf"; fi
}

# What a program needs of this script's environment; schedulers and ssh don't pass it on.
set_environment() {
    local name
    environment=(env)
    for name in PYTHONPATH PYTHONUNBUFFERED OMP_NUM_THREADS MKL_NUM_THREADS ${!MALLOC_*}; do
        environment+=("${name}=${!name}")
    done
}

# How many trainings run side by side: --nj of them, but one at a time where they would share this machine's GPUs
trainings_at_once() {
    if [ "${ngpu}" -gt 0 ] && [[ ${cuda_cmd} == run_local.sh* ]]; then echo 1; else echo "${nj}"; fi
}

# launch_training EXP TASK ARGUMENT...: ESPnet's TASK (asr_train, lm_train) where the options say. Its output is in
# EXP/train.log; ESPnet's launcher keeps the logs of earlier runs as train.1.log (the last one), train.2.log, ...
launch_training() {
    local exp=$1 task=$2 where=(--ngpu "${ngpu}") processes=(); shift 2
    if [ -n "${host}" ]; then
        [[ ${PWD}${root}${python} != *" "* ]] || die "--host: ESPnet's launcher can't take a path with a blank (${PWD})"
        where+=(--host "${host}" --envfile "$(if [ -f path.sh ]; then echo path.sh; else echo none; fi)")
    else
        where+=(--num_nodes "${num_nodes}")
    fi
    if [ "${num_processes}" -gt 1 ]; then processes=(--num_processes "${num_processes}"); fi
    set_environment
    rm -f "${exp}/launch.log"
    logged "${exp}/launch.log" "${python}" -m espnet2.bin.launch --cmd "${cuda_cmd}" --log "${exp}/train.log" \
        --init_file_prefix "${PWD}/${exp}/.dist_init_" "${where[@]}" -- "${environment[@]}" "${python}" \
        -m imlspike.espnet "${task}" ${processes[@]+"${processes[@]}"} "$@" --output_dir "${exp}" --resume true \
        --seed "${seed}"
}
