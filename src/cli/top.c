/* SPDX-License-Identifier: Apache-2.0 */
/*
 * top.c - penstock top: promised and delivered, live
 *
 * On a terminal a screen that is drawn again and again (q ends it); into a
 * pipe, the same table printed again and again.
 */
#include <curses.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/args.h"
#include "cli/ask.h"
#include "cli/list.h"

enum { TOP_COUNT, TOP_INTERVAL };
static const struct cli_option options[] = {
	[TOP_COUNT] = {"count", "N", "stop after N tables"},
	[TOP_INTERVAL] = {"interval", "SECONDS", "between two tables (1)"},
	{NULL, NULL, NULL},
};

struct top {
	struct cli *cli;
	uint64_t left;			/* tables still to show */
	uint64_t interval_ns;
};

/* --- Into a pipe -------------------------------------------------------- */

static int top_plain(struct top *top)
{
	const struct timespec pause = {
		.tv_sec = (time_t)(top->interval_ns / 1000000000U),
		.tv_nsec = (long)(top->interval_ns % 1000000000U),
	};

	for (;;) {
		const int status =
			list_ask(top->cli, "/v1/processes", list_processes);

		if (status != CLI_DONE)
			return status;
		if (fflush(stdout) != 0)
			return cli_error(CLI_FAILED, "cannot write: %s",
					 strerror(errno));
		if (--top->left == 0)
			return CLI_DONE;
		if (!top->cli->json)
			printf("\n");
		nanosleep(&pause, NULL);
	}
}

/* --- On a terminal ------------------------------------------------------ */

/* One line of the table; what is broken stands out. */
static void draw_line(int row, const char *line, size_t length)
{
	static const char broken[] = " BROKEN ";
	const bool bold = memmem(line, length, broken, sizeof(broken) - 1);

	if (bold)
		attron(A_BOLD);
	mvaddnstr(row, 0, line, (int)length);
	if (bold)
		attroff(A_BOLD);
}

static void draw(const json_t *status, const json_t *processes)
{
	char *text = table_text(list_processes, processes, (size_t)COLS);
	char host[128], enforce[64] = "";
	const char *line = text;
	int row = 2;

	erase();
	show_text(status, "host", host, sizeof(host));
	if (json_is_false(json_object_get(status, "enforce")))
		strcpy(enforce, "   PROMISES ARE NOT ENFORCED");
	mvprintw(0, 0,
		 "%s: %lld kept, %lld broken, %lld too few to say%s   (q ends)",
		 host,
		 (long long)json_integer_value(
			 table_get(status, "processes.kept")),
		 (long long)json_integer_value(
			 table_get(status, "processes.broken")),
		 (long long)json_integer_value(
			 table_get(status, "processes.unknown")),
		 enforce);
	while (line && *line && row < LINES) {
		const size_t length = strcspn(line, "\n");

		draw_line(row++, line, length);
		line += length + (line[length] == '\n');
	}
	free(text);
	refresh();
}

/* True: the person wants to leave. */
static bool wait_for_key(const struct top *top)
{
	int key;

	timeout((int)(top->interval_ns / 1000000U));
	key = getch();
	return key == 'q' || key == 'Q' || key == 27;
}

static int top_screen(struct top *top)
{
	json_t *status = NULL, *processes = NULL;
	SCREEN *screen;
	int result;

	/* The first question before the screen: its error stays readable. */
	result = cli_ask(top->cli, "GET", "/v1/status", NULL, &status);
	if (result != CLI_DONE)
		return result;
	screen = newterm(NULL, stdout, stdin);
	if (!screen) {	/* a terminal that nobody knows */
		json_decref(status);
		return top_plain(top);
	}
	cbreak();
	noecho();
	keypad(stdscr, TRUE);	/* an arrow is not the escape it begins with */
	curs_set(0);
	while (result == CLI_DONE) {
		result = cli_ask(top->cli, "GET", "/v1/processes", NULL,
				 &processes);
		if (result != CLI_DONE)
			break;
		draw(status, processes);
		json_decref(processes);
		if (--top->left == 0 || wait_for_key(top))
			break;
		json_decref(status);
		status = NULL;
		result = cli_ask(top->cli, "GET", "/v1/status", NULL, &status);
	}
	endwin();
	delscreen(screen);
	json_decref(status);
	/* What was said went with the screen. */
	if (result != CLI_DONE && isatty(STDERR_FILENO) &&
	    cli_ask(top->cli, "GET", "/v1/status", NULL, &status) == CLI_DONE)
		json_decref(status);
	return result;
}

static int top_verb(struct cli *cli, const struct cli_args *args)
{
	struct top top = {
		.cli = cli,
		.left = UINT64_MAX,
		.interval_ns = 1000000000,
	};
	const char *count = args->options[TOP_COUNT];
	const char *interval = args->options[TOP_INTERVAL];
	struct error error;

	if ((count &&
	     cli_parse_number("--count", count, 1, UINT64_MAX - 1, &top.left,
			      &error) < 0) ||
	    (interval &&
	     cli_parse_seconds("--interval", interval, &top.interval_ns,
			       &error) < 0))
		return cli_error(CLI_USAGE, "%s", error.text);
	if (cli->json || !isatty(STDOUT_FILENO) || !isatty(STDIN_FILENO) ||
	    !getenv("TERM"))
		return top_plain(&top);
	return top_screen(&top);
}

const struct cli_verb cli_top_verbs[] = {
	{NULL, "top", NULL, 0, 0, options, top_verb,
	 "promised and delivered, live"},
	{NULL, NULL, NULL, 0, 0, NULL, NULL, NULL},
};
