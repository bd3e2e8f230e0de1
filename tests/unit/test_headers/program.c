/* What a user of one header writes, with that header in front. */
int main(void)
{
    return 0;
}
