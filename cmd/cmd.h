/* SPDX-License-Identifier: ISC */
/* cmd.h: the commands of vigia. */
#ifndef CMD_CMD_H
#define CMD_CMD_H

#include "ctl/opt.h"

struct cmd {
	const struct command *desc;
	/* argv[0] is the command's name. Gives the exit status; reports errors itself. */
	int (*run)(int argc, char **argv);
};

extern const struct cmd cmd_table[];
extern const unsigned cmd_count;

/* Descriptions without functions, for generators of man pages and completion. */
extern const struct command cmd_doctor, cmd_list, cmd_stop, cmd_kill, cmd_pause, cmd_resume,
	cmd_wake, cmd_stats, cmd_console, cmd_save, cmd_restore, cmd_move, cmd_screenshot, cmd_type,
	cmd_key, cmd_mouse, cmd_pack, cmd_image, cmd_volume, cmd_insert, cmd_eject, cmd_snapshot;
extern const struct command *const cmd_all[];
extern const unsigned cmd_all_count;

int run_main(int argc, char **argv);
int doctor_main(int argc, char **argv);
int list_main(int argc, char **argv);
int stop_main(int argc, char **argv);
int kill_main(int argc, char **argv);
int pause_main(int argc, char **argv);
int wake_main(int argc, char **argv);
int resume_main(int argc, char **argv);
int stats_main(int argc, char **argv);
int console_main(int argc, char **argv);
int history_main(int argc, char **argv);
int policy_main(int argc, char **argv);
int move_main(int argc, char **argv);
int save_main(int argc, char **argv);
int restore_main(int argc, char **argv);
int screenshot_main(int argc, char **argv);
int type_main(int argc, char **argv);
int key_main(int argc, char **argv);
int mouse_main(int argc, char **argv);
int pack_main(int argc, char **argv);
int image_main(int argc, char **argv);
int volume_main(int argc, char **argv);
int insert_main(int argc, char **argv);
int eject_main(int argc, char **argv);
int snapshot_main(int argc, char **argv);

/* Prints "vigia NAME: text" on stderr; gives 1. */
int cmd_fail(const struct command *desc, const struct msg *msg);
/* Connects to the VM that name stands for. Gives a descriptor or ERR_*. */
int cmd_connect(const char *name, struct msg *msg);

struct cmd_opts;
/* All of a command of one VM: parses, prints the help, connects to the VM that the first argument
 * names, and calls fn. Gives the exit status. */
int cmd_on_vm(const struct command *desc, int argc, char **argv,
	      int (*fn)(int sock, const struct cmd_opts *o, const struct opt_args *args,
			struct msg *msg));

#endif
