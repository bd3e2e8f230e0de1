/* A shared object that is no plugin. */
int plugin_empty;
