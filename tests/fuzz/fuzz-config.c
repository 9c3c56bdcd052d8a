/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz-config.c - a configuration file that anybody wrote */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "host/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error why = {""};
	struct config *config;

	if (config_parse("f", (const char *)data, size, &config, &why) == 0) {
		assert(config->host && config->state);
		config_free(config);
	} else {
		/* Whatever it is, it is said with file and line. */
		assert(strncmp(why.text, "f:", 2) == 0);
	}
	return 0;
}
